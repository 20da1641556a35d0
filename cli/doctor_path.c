/*
 * What the way to a peer carries, asked by probes inside its session: small ones, and those of the size that every path must
 * carry. The first hop's MTU is known without that (doctor_network.c); one farther away is not, and shows in nothing else but
 * connections that open and then hang.
 *
 * A lost probe proves nothing, so several are sent, and less is claimed where much is lost anyway. Peers are many and time is short:
 * some are looked at.
 */
#include "cli/client.h"
#include "cli/doctor.h"

#include <string.h>

enum {
	LEAST_BYTES = 1232, /* UDP payload that every path must carry: lib/PROTOCOL.md 12 */
	PROBES = 5,
	PEERS_MAX = 4,
	WAIT_MS = 300, /* for an answer, and three round trips */
	SPARE_MS = 1000,
};

static const double LOSSY = 0.05;

static int64_t wait_ms(const struct control_peer *peer)
{
	return WAIT_MS + (peer->rtt_ms > 0 ? (int64_t)(3 * peer->rtt_ms) : 0);
}

/* @return 1 = it came back, 0 = not, negative = it could not be asked */
static int probe(struct client *client, const struct control_peer *peer, int64_t size_bytes)
{
	struct control_request request = {
		.method = CONTROL_PING, .size = size_bytes, .timeout_ms = wait_ms(peer)};
	struct control_answer answer;
	struct control_ping ping;
	int result = -1;

	if (control_strings_add(&request.peers, peer->name))
		return -1;
	if (client_call(client, &request, &answer) == EXIT_OK) {
		if (control_ping_from_json(answer.result, &ping) == 0)
			result = ping.rtt_ms >= 0;
		control_answer_fini(&answer);
	}
	control_request_fini(&request);
	return result;
}

/* As probe(), of several: one that comes back is enough. */
static int probes(struct client *client, const struct control_peer *peer, int64_t size_bytes)
{
	int result = 0;

	for (int i = 0; i < PROBES && result == 0; i++) {
		if (cli_now_ms() + wait_ms(peer) > client->cli->deadline_ms)
			return -1;
		result = probe(client, peer, size_bytes);
	}
	return result;
}

/* @return whether that could be found out */
static bool check_peer(struct doctor *d, struct client *client, const struct control_peer *peer)
{
	bool lossy = peer->loss_raw_in > LOSSY || peer->loss_raw_out > LOSSY;

	if (probes(client, peer, 0) != 1)
		return false;
	int large = probes(client, peer, LEAST_BYTES);
	if (large != 0)
		return large > 0;
	doctor_add(d, lossy ? DOCTOR_WARNING : DOCTOR_PROBLEM, "E-DOC-9", "path",
		"peer %s: small datagrams come back, those of %d bytes do not: something on the "
		"way carries less than 1280",
		peer->name, LEAST_BYTES);
	return true;
}

void doctor_check_paths(struct doctor *d)
{
	struct cli quiet = *d->cli;
	struct client client;
	size_t looked = 0, unknown = 0;

	if (!d->status || (d->config && d->config->wire != CONFIG_WIRE_NATIVE))
		return;
	quiet.err = fopen("/dev/null", "w");
	if (!quiet.err)
		return;
	quiet.deadline_ms -= SPARE_MS;
	if (client_open(&quiet, &client) == EXIT_OK) {
		for (size_t i = 0; i < d->status->peer_count && looked + unknown < PEERS_MAX; i++) {
			const struct control_peer *peer = &d->status->peers[i];
			if (!control_state_is_up(peer->state))
				continue;
			if (check_peer(d, &client, peer))
				looked++;
			else
				unknown++;
		}
		client_close(&client);
	}
	(void)fclose(quiet.err);
	if (unknown)
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "path",
			"%zu peer%s: what the path carries was not found out in time; --timeout "
			"gives more",
			unknown, unknown == 1 ? "" : "s");
	if (looked && !doctor_found(d, "path"))
		doctor_add(d, DOCTOR_OK, NULL, "path", "%zu path%s what must fit", looked,
			looked == 1 ? " carries" : "s carry");
}
