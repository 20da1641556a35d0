#include "core/list.h"
#include "vpnd/loop.h"
#include "vpnd/resolver.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

Test(resolver, reads_numeric_addresses)
{
	static const struct {
		const char *text;
		const char *want; /* NULL = refused */
	} rows[] = {
		{"192.0.2.1:29900", "192.0.2.1:29900"},
		{"0.0.0.0:0", "0.0.0.0:0"},
		{"[2001:db8::1]:65535", "[2001:db8::1]:65535"},
		{"[::]:29900", "[::]:29900"},
		{"[::ffff:192.0.2.1]:5", "192.0.2.1:5"},
		{"[fe80::1%lo]:5", "[fe80::1%1]:5"},
		{"[fe80::1%7]:5", "[fe80::1%7]:5"},
		{"", NULL},
		{":", NULL},
		{":5", NULL},
		{"192.0.2.1", NULL},
		{"192.0.2.1:", NULL},
		{"192.0.2.1:65536", NULL},
		{"192.0.2.1:99999999999", NULL},
		{"192.0.2.1:+5", NULL},
		{"192.0.2.1: 5", NULL},
		{"192.0.2.1:5x", NULL},
		{"192.0.2:5", NULL},
		{"2001:db8::1:5", NULL},
		{"[2001:db8::1]", NULL},
		{"[2001:db8::1]5", NULL},
		{"[2001:db8::1]:", NULL},
		{"[2001:db8::1:5", NULL},
		{"[]:5", NULL},
		{"[192.0.2.1]:5", NULL},
		{"[fe80::1%]:5", NULL},
		{"[fe80::1%no-such-if]:5", NULL},
		{"name:5", NULL},
	};
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_endpoint endpoint = {.port = 77};
		cr_assert_eq(resolver_parse_numeric(rows[i].text, &endpoint),
			rows[i].want ? 0 : -EINVAL, "%s", rows[i].text);
		if (rows[i].want)
			cr_assert_str_eq(kcpvpn_endpoint_format(&endpoint, text), rows[i].want);
		else
			cr_assert_eq(endpoint.port, 77);
	}
	char endless[1000];
	struct kcpvpn_endpoint endpoint;
	memset(endless, 'a', sizeof(endless));
	memcpy(endless + sizeof(endless) - 3, ":5", 3);
	cr_assert_eq(resolver_parse_numeric(endless, &endpoint), -EINVAL);
}

/* ---- with a loop ---- */

/* The lookup of the tests: "slow" waits for the gate, the rest goes by the first letter. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static int gate_pipe[2]; /* tells that the lookup of "slow" has begun */

static int test_lookup(const char *host, const char *service, const struct addrinfo *hints,
	struct addrinfo **ret_list)
{
	struct addrinfo numeric = *hints;

	numeric.ai_flags = AI_NUMERICHOST;
	if (strcmp(host, "slow") == 0) {
		if (write(gate_pipe[1], "x", 1) != 1)
			return EAI_FAIL;
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
	}
	switch (host[0]) {
	case 's':
	case 'g':
		return getaddrinfo("192.0.2.7", service, &numeric, ret_list);
	case 'n':
		return EAI_NONAME;
	case 't':
		return EAI_AGAIN;
	case 'y':
		errno = ENETDOWN;
		return EAI_SYSTEM;
	default:
		return EAI_FAIL;
	}
}

struct asker {
	struct resolver_query query;
	struct loop *loop;
	struct resolver *free_this; /* when the answer comes */
	int answers;
	int err;
	size_t count;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];
	char reason[100];
};

static void on_answer(struct resolver_query *query, const struct resolver_answer *answer)
{
	struct asker *asker = list_entry(query, struct asker, query);

	cr_assert_eq(query->job, NULL);
	asker->answers++;
	asker->err = answer->err;
	asker->count = answer->count;
	strncpy(asker->reason, answer->text, sizeof(asker->reason) - 1);
	if (answer->count)
		kcpvpn_endpoint_format(&answer->endpoints[0], asker->text);
	if (asker->free_this)
		resolver_free(asker->free_this);
}

static struct asker asker_of(struct loop *loop)
{
	return (struct asker){.query = {.on_answer = on_answer}, .loop = loop};
}

static void wait_answer(struct asker *asker)
{
	int before = asker->answers;
	while (asker->answers == before)
		cr_assert(loop_turn(asker->loop, true) >= 0);
}

static void begin(struct loop **ret_loop, struct resolver **ret_resolver)
{
	cr_assert_eq(pipe(gate_pipe), 0);
	cr_assert_eq(loop_new(ret_loop), 0);
	cr_assert_eq(resolver_new(*ret_loop, test_lookup, ret_resolver), 0);
}

static void wait_begun(void)
{
	char byte;
	cr_assert_eq(read(gate_pipe[0], &byte, 1), 1);
}

Test(resolver, numeric_is_answered_at_once)
{
	struct loop *loop = NULL;
	struct resolver *resolver = NULL;

	begin(&loop, &resolver);
	struct asker asker = asker_of(loop);
	cr_assert_eq(resolver_ask(resolver, &asker.query, "[2001:db8::1]:29900"), 0);
	cr_assert_eq(asker.answers, 1);
	cr_assert_eq(asker.err, 0);
	cr_assert_str_eq(asker.text, "[2001:db8::1]:29900");
	cr_assert_eq(resolver_ask(resolver, &asker.query, "[no address]:5"), -EINVAL);
	cr_assert_eq(resolver_ask(resolver, &asker.query, "without-port"), -EINVAL);
	cr_assert_eq(resolver_ask(resolver, &asker.query, "good:70000"), -EINVAL);
	cr_assert_eq(asker.answers, 1);
	resolver_free(resolver);
	loop_free(loop);
}

Test(resolver, answers_names_and_failures)
{
	static const struct {
		const char *text;
		int err;
	} rows[] = {
		{"good:5", 0},
		{"none:5", -ENOENT},
		{"temporary:5", -EAGAIN},
		{"y:5", -ENETDOWN},
		{"broken:5", -EIO},
	};
	struct loop *loop = NULL;
	struct resolver *resolver = NULL;

	begin(&loop, &resolver);
	struct asker asker = asker_of(loop);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(resolver_ask(resolver, &asker.query, rows[i].text), 0);
		wait_answer(&asker);
		cr_assert_eq(asker.err, rows[i].err, "%s", rows[i].text);
		cr_assert_eq(asker.count, rows[i].err == 0);
		cr_assert_eq(asker.reason[0] == '\0', rows[i].err == 0);
	}
	cr_assert_str_eq(asker.text, "192.0.2.7:5");

	struct asker many[50];
	for (int i = 0; i < 50; i++) {
		many[i] = asker_of(loop);
		cr_assert_eq(resolver_ask(resolver, &many[i].query, "good:6"), 0);
	}
	for (int i = 0; i < 50; i++)
		while (many[i].answers == 0)
			cr_assert(loop_turn(loop, true) >= 0);
	resolver_free(resolver);
	resolver_free(NULL);
	loop_free(loop);
}

Test(resolver, the_real_lookup_knows_localhost)
{
	struct loop *loop = NULL;
	struct resolver *resolver = NULL;

	cr_assert_eq(loop_new(&loop), 0);
	cr_assert_eq(resolver_new(loop, NULL, &resolver), 0);
	struct asker asker = asker_of(loop);
	cr_assert_eq(resolver_ask(resolver, &asker.query, "localhost:29900"), 0);
	wait_answer(&asker);
	cr_assert_eq(asker.err, 0, "%s", asker.reason);
	cr_assert(strstr(asker.text, ":29900"));
	resolver_free(resolver);
	loop_free(loop);
}

Test(resolver, cancelled_questions_stay_silent)
{
	struct loop *loop = NULL;
	struct resolver *resolver = NULL;

	begin(&loop, &resolver);
	struct asker first = asker_of(loop);
	struct asker second = asker_of(loop);
	struct asker third = asker_of(loop);
	pthread_mutex_lock(&gate);
	cr_assert_eq(resolver_ask(resolver, &first.query, "slow:5"), 0);
	wait_begun();
	cr_assert_eq(resolver_ask(resolver, &second.query, "good:5"), 0);
	cr_assert_eq(resolver_ask(resolver, &third.query, "good:5"), 0);
	resolver_cancel(resolver, &first.query);
	resolver_cancel(resolver, &first.query);
	resolver_cancel(resolver, &second.query);
	cr_assert(!first.query.job && !second.query.job);
	/* Asking again while the lookup hangs cancels what was asked before: nothing piles up. */
	for (int i = 0; i < 3 * RESOLVER_JOBS_MAX; i++)
		cr_assert_eq(resolver_ask(resolver, &second.query, "good:9"), 0);
	pthread_mutex_unlock(&gate);
	wait_answer(&second);
	cr_assert_eq(first.answers, 0);
	cr_assert_eq(second.answers, 1);
	cr_assert_eq(third.answers, 1);
	cr_assert_str_eq(second.text, "192.0.2.7:9");
	resolver_free(resolver);
	loop_free(loop);
}

Test(resolver, a_hanging_lookup_does_not_stop_the_end)
{
	struct loop *loop = NULL;
	struct resolver *resolver = NULL;

	begin(&loop, &resolver);
	struct asker hanging = asker_of(loop);
	struct asker waiting = asker_of(loop);
	pthread_mutex_lock(&gate);
	cr_assert_eq(resolver_ask(resolver, &hanging.query, "slow:5"), 0);
	wait_begun();
	cr_assert_eq(resolver_ask(resolver, &waiting.query, "good:5"), 0);
	resolver_free(resolver); /* returns although the gate is shut */
	cr_assert(!hanging.query.job && !waiting.query.job);
	loop_free(loop);
	pthread_mutex_unlock(&gate); /* the thread ends by itself and touches nothing freed */

	/* The queries serve another resolver. */
	begin(&loop, &resolver);
	hanging.loop = loop;
	cr_assert_eq(resolver_ask(resolver, &hanging.query, "good:5"), 0);
	wait_answer(&hanging);
	resolver_free(resolver);
	loop_free(loop);
}

Test(resolver, may_be_freed_by_an_answer)
{
	struct loop *loop = NULL;
	struct resolver *resolver = NULL;

	begin(&loop, &resolver);
	struct asker first = asker_of(loop);
	struct asker second = asker_of(loop);
	pthread_mutex_lock(&gate);
	cr_assert_eq(resolver_ask(resolver, &first.query, "slow:5"), 0);
	cr_assert_eq(resolver_ask(resolver, &second.query, "good:5"), 0);
	first.free_this = resolver;
	pthread_mutex_unlock(&gate);
	wait_answer(&first);
	cr_assert_eq(second.answers, 0);
	cr_assert_eq(second.query.job, NULL);
	cr_assert_eq(loop_turn(loop, false), 0);
	loop_free(loop);
}

Test(resolver, refuses_more_than_its_bound)
{
	static struct asker askers[RESOLVER_JOBS_MAX + 1];
	struct loop *loop = NULL;
	struct resolver *resolver = NULL;

	begin(&loop, &resolver);
	pthread_mutex_lock(&gate);
	for (int i = 0; i <= RESOLVER_JOBS_MAX; i++) {
		askers[i] = asker_of(loop);
		cr_assert_eq(resolver_ask(resolver, &askers[i].query, i ? "good:5" : "slow:5"),
			i < RESOLVER_JOBS_MAX ? 0 : -ENOBUFS);
	}
	wait_begun();
	pthread_mutex_unlock(&gate);
	wait_answer(&askers[RESOLVER_JOBS_MAX - 1]);
	cr_assert_eq(resolver_ask(resolver, &askers[RESOLVER_JOBS_MAX].query, "good:5"), 0);
	resolver_free(resolver);
	loop_free(loop);
}
