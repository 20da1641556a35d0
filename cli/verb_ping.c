/*
 * ping: probes inside the session, one a second. Each is one question to the daemon, which sends it and waits; so what is
 * measured is the tunnel, and not this program. Without -c four are sent.
 */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"

#include <poll.h>
#include <signal.h>
#include <string.h>

enum {
	INTERVAL_MS = 1000,
	COUNT_USUAL = 4,
	WAIT_MS = 2000,	  /* for one answer */
	DAEMON_MS = 5000, /* for the daemon's own */
};

struct tally {
	int64_t sent, came;
	double least, most, sum;
	int64_t path_mtu;
};

static volatile sig_atomic_t stopped;

static void on_interrupt(int number)
{
	(void)number;
	stopped = 1;
}

static void count(struct tally *t, const struct control_ping *ping)
{
	t->sent++;
	t->path_mtu = ping->path_mtu;
	if (ping->rtt_ms < 0)
		return;
	if (t->came == 0 || ping->rtt_ms < t->least)
		t->least = ping->rtt_ms;
	if (t->came == 0 || ping->rtt_ms > t->most)
		t->most = ping->rtt_ms;
	t->sum += ping->rtt_ms;
	t->came++;
}

static void put_one(
	const struct cli *cli, const char *peer, int64_t number, const struct control_ping *ping)
{
	if (cli->options.given & OPTION_QUIET)
		return;
	cli_put_text(cli->out, peer);
	if (ping->rtt_ms < 0)
		(void)fprintf(cli->out, ": seq=%lld no answer within %d s\n", (long long)number,
			WAIT_MS / 1000);
	else
		(void)fprintf(cli->out, ": seq=%lld time=%.*f ms\n", (long long)number,
			ping->rtt_ms < 9.95 ? 2 : 1, ping->rtt_ms);
	(void)fflush(cli->out);
}

static void put_summary(const struct cli *cli, const char *peer, const struct tally *t)
{
	(void)fputs("--- ", cli->out);
	cli_put_text(cli->out, peer);
	(void)fprintf(cli->out, " ---\n%lld sent, %lld answered, %.0f %% lost", (long long)t->sent,
		(long long)t->came,
		t->sent ? 100.0 * (double)(t->sent - t->came) / (double)t->sent : 0.0);
	if (t->path_mtu >= 0)
		(void)fprintf(cli->out, ", path mtu %lld", (long long)t->path_mtu);
	if (t->came)
		(void)fprintf(cli->out, "\nrtt min/avg/max %.2f/%.2f/%.2f ms", t->least,
			t->sum / (double)t->came, t->most);
	(void)fputc('\n', cli->out);
}

/* Waits for the next second, or the end. @return false when it is over */
static bool pause_until(int64_t whole_ms, int64_t at_ms)
{
	int64_t left;

	while (!stopped && (left = at_ms - cli_now_ms()) > 0) {
		if (cli_now_ms() >= whole_ms)
			return false;
		(void)poll(NULL, 0, (int)(left < 100 ? left : 100));
	}
	return !stopped && cli_now_ms() < whole_ms;
}

static int ask(struct client *client, const char *peer, struct control_ping *ret_ping)
{
	struct control_request request = {
		.method = CONTROL_PING, .size = client->cli->options.size, .timeout_ms = WAIT_MS};
	struct control_answer answer;
	int status;

	if (control_strings_add(&request.peers, peer))
		return cli_fail(client->cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	status = client_call(client, &request, &answer);
	control_request_fini(&request);
	if (status)
		return status;
	if (control_ping_from_json(answer.result, ret_ping))
		status = cli_fail(client->cli, EXIT_OTHER, "E-CONN-9", NULL,
			"the daemon's answer makes no sense");
	control_answer_fini(&answer);
	return status;
}

/* It may go on for ever; a daemon that hangs may not. */
static void bound(struct cli *cli, int64_t whole_ms)
{
	int64_t at_ms = cli_now_ms() + WAIT_MS + DAEMON_MS;

	cli->deadline_ms = at_ms < whole_ms ? at_ms : whole_ms;
}

int verb_ping(struct cli *cli, const char *const *args, int arg_count)
{
	const struct cli_options *o = &cli->options;
	struct sigaction action = {.sa_handler = on_interrupt};
	struct tally tally = {.path_mtu = CONTROL_UNKNOWN};
	int64_t wanted = o->given & OPTION_COUNT ? o->count : COUNT_USUAL;
	struct client client;
	int status;

	(void)arg_count;
	if (strlen(args[0]) == 0 || strlen(args[0]) >= CONTROL_NAME_BYTES)
		return cli_fail(cli, EXIT_NOT_FOUND, CONTROL_CODE_NO_PEER,
			"a name has 1 to 63 bytes", "no peer \"%.80s\"", args[0]);
	int64_t whole_ms = cli->deadline_ms;
	bound(cli, whole_ms);
	status = client_open(cli, &client);
	if (status)
		return status;
	stopped = 0;
	(void)sigaction(SIGINT, &action, NULL);
	int64_t next_ms = cli_now_ms();
	while (!status && (wanted == 0 || tally.sent < wanted) && pause_until(whole_ms, next_ms)) {
		struct control_ping ping;
		bound(cli, whole_ms);
		next_ms = cli_now_ms() + INTERVAL_MS;
		status = ask(&client, args[0], &ping);
		if (status)
			break;
		count(&tally, &ping);
		if (o->json)
			status = output_json_ping(cli, args[0], tally.sent, &ping);
		else
			put_one(cli, args[0], tally.sent, &ping);
	}
	client_close(&client);
	if (!o->json && tally.sent)
		put_summary(cli, args[0], &tally);
	if (!status && tally.came == 0)
		status = cli_fail(cli, EXIT_TIMEOUT, CONTROL_CODE_PING_LOST,
			o->size ? "is the size more than the path mtu?" : NULL,
			"no probe came back from peer \"%s\"", args[0]);
	return status;
}
