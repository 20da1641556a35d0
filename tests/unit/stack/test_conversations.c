/* Opening, accepting, replacing and closing conversations, and what the program is told. */
#include "pair.h"

#include "fec/fec_header.h"
#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct pair pair;

static struct kcpvpn_config plain_config(void)
{
	struct kcpvpn_config config = pair_config();

	config.crypt = "none";
	config.data_shards = 0;
	return config;
}

/* A PUSH of `len` zero bytes from `host`. */
static void push_from(uint8_t host, uint32_t conv, uint32_t sn, size_t len)
{
	struct craft craft = {0};
	struct craft_segment segment = {.conv = conv,
		.cmd = KCP_CMD_PUSH,
		.wnd = 128,
		.sn = sn,
		.len = (uint32_t)len,
		.body = len};
	struct kcpvpn_endpoint from = pair_endpoint(host);

	craft_add_segment(&craft, &segment);
	craft_wrap_none(&craft);
	pair_inject(&pair.b, &from, craft.bytes, craft.len);
}

Test(conversations, dial_accept_and_talk)
{
	struct kcpvpn_config config = pair_config();

	pair_open(&pair, &config, NULL);
	cr_assert_null(pair.a.conv);
	pair_dial(&pair, 0);
	cr_assert_neq(kcpvpn_conv_number(pair.a.conv), 0);
	cr_assert(kcpvpn_endpoint_equal(kcpvpn_conv_remote(pair.a.conv), &pair.b.address));
	cr_assert_eq(kcpvpn_conv_port(pair.a.conv), &pair.a.port);
	cr_assert_eq(kcpvpn_conv_last_rx(pair.a.conv), -1);
	pair_run(&pair, 10000000);
	cr_assert_eq(pair.a.datagrams, 0, "nothing is sent before there is something to say");
	cr_assert_null(pair.b.conv);

	cr_assert_eq(pair_send(&pair.a, 3, 50), 0);
	cr_assert(!kcpvpn_conv_drained(pair.a.conv));
	pair_run(&pair, 100000);
	cr_assert(kcpvpn_conv_drained(pair.a.conv));
	cr_assert_not_null(pair.b.conv);
	cr_assert_eq(kcpvpn_conv_number(pair.b.conv), kcpvpn_conv_number(pair.a.conv));
	cr_assert(kcpvpn_endpoint_equal(kcpvpn_conv_remote(pair.b.conv), &pair.a.address));
	cr_assert_eq(pair_events(&pair.b),
		KCPVPN_EVENT_ACCEPTED | KCPVPN_EVENT_READABLE | KCPVPN_EVENT_ALIVE);
	cr_assert_eq(pair_events(&pair.a), KCPVPN_EVENT_ALIVE);
	pair_expect(&pair.b, 3, 50);
	cr_assert(kcpvpn_conv_last_rx(pair.a.conv) > 0);

	cr_assert_eq(pair_send(&pair.a, 4, 50), 0);
	pair_run(&pair, 100000);
	cr_assert_eq(pair_events(&pair.b), KCPVPN_EVENT_READABLE, "alive and accepted once");

	struct kcpvpn_stats a = pair_stats(&pair.a), b = pair_stats(&pair.b);
	cr_assert(a.active_opens == 1 && a.passive_opens == 0 && a.conversations == 1);
	cr_assert(b.active_opens == 0 && b.passive_opens == 1 && b.conversations_max == 1);
	cr_assert(a.bytes_sent == 100 && b.bytes_received == 50);
	cr_assert(a.out_datagrams == pair.a.datagrams && b.in_datagrams == pair.a.datagrams);
	cr_assert(a.out_bytes == b.in_bytes);
	pair_close(&pair);
}

Test(conversations, user_pointer_is_the_programs_own)
{
	struct kcpvpn_config config = pair_config();
	int mine;

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 0);
	cr_assert_null(kcpvpn_conv_user(pair.a.conv));
	kcpvpn_conv_set_user(pair.a.conv, &mine);
	cr_assert_eq(kcpvpn_conv_user(pair.a.conv), &mine);
	pair_close(&pair);
}

Test(conversations, one_for_each_port_and_remote)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_endpoint far = pair_endpoint(9);
	struct kcpvpn_conv *conv = NULL;

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	cr_assert_eq(
		kcpvpn_node_dial(pair.a.node, &pair.a.port, &pair.b.address, 6, pair.now_us, &conv),
		-EADDRINUSE);
	cr_assert_null(conv);
	struct kcpvpn_udp_port second = pair.a.port;
	cr_assert_eq(
		kcpvpn_node_dial(pair.a.node, &second, &pair.b.address, 5, pair.now_us, &conv), 0);
	cr_assert_eq(kcpvpn_node_dial(pair.a.node, &pair.a.port, &far, 5, pair.now_us, &conv), 0,
		"numbers need not differ");
	kcpvpn_conv_close(pair.a.conv, pair.now_us);
	pair_dial(&pair, 6);
	cr_assert_eq(kcpvpn_conv_number(pair.a.conv), 6);
	kcpvpn_node_flush(pair.a.node, pair.now_us);
	pair_close(&pair);
}

Test(conversations, any_first_datagram_with_a_number_opens)
{
	struct kcpvpn_config config = plain_config();

	pair_open(&pair, &config, NULL);
	push_from(50, 7, 1234, 10);
	cr_assert_not_null(pair.b.conv);
	cr_assert_eq(kcpvpn_conv_number(pair.b.conv), 7);
	uint8_t buf[64];
	size_t len;
	cr_assert_eq(kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len), -EAGAIN);
	pair_close(&pair);
}

/* Datagram with una not 0: a conversation that somebody before us was part of. It is answered and not shown. */
Test(conversations, remnants_are_answered_and_not_shown)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_endpoint from = pair_endpoint(1);
	struct craft craft = {0};
	struct craft_segment segment = {.conv = 7,
		.cmd = KCP_CMD_PUSH,
		.wnd = 128,
		.sn = 40,
		.una = 30,
		.len = 5,
		.body = 5};

	pair_open(&pair, &config, NULL);
	craft_add_segment(&craft, &segment);
	craft_wrap_none(&craft);
	pair_inject(&pair.b, &from, craft.bytes, craft.len);
	pair_run(&pair, 1000000);
	cr_assert_eq(pair_events(&pair.b), 0);
	cr_assert_null(pair.b.conv);
	cr_assert(pair.b.datagrams > 0, "the other side learns that its conversation is gone");
	cr_assert_eq(pair_stats(&pair.b).remnants, 1);
	cr_assert_eq(pair_stats(&pair.b).passive_opens, 0);

	/* it is not in the way of a new one, dialled or accepted */
	struct kcpvpn_conv *conv;
	cr_assert_eq(kcpvpn_node_dial(pair.b.node, &pair.b.port, &from, 8, pair.now_us, &conv), 0);
	kcpvpn_conv_close(conv, pair.now_us);
	pair_inject(&pair.b, &from, craft.bytes, craft.len);
	cr_assert_eq(pair_stats(&pair.b).remnants, 2);
	push_from(1, 9, 0, 10);
	cr_assert_eq(pair_events(&pair.b),
		KCPVPN_EVENT_ACCEPTED | KCPVPN_EVENT_READABLE | KCPVPN_EVENT_ALIVE);
	cr_assert_eq(kcpvpn_conv_number(pair.b.conv), 9);
	cr_assert_eq(pair_stats(&pair.b).conversations, 1);

	/* nor of one that begins with the same number */
	from = pair_endpoint(61);
	pair_inject(&pair.b, &from, craft.bytes, craft.len);
	cr_assert_eq(pair_events(&pair.b), 0);
	push_from(61, 7, 1, 10);
	cr_assert_eq(pair_events(&pair.b), 0);
	push_from(61, 7, 0, 10);
	cr_assert_eq(pair_events(&pair.b),
		KCPVPN_EVENT_ACCEPTED | KCPVPN_EVENT_READABLE | KCPVPN_EVENT_ALIVE);
	kcpvpn_conv_close(pair.b.conv, pair.now_us);

	/* and is forgotten when the other side fell silent */
	from = pair_endpoint(60);
	pair_inject(&pair.b, &from, craft.bytes, craft.len);
	cr_assert_eq(pair_stats(&pair.b).conversations, 1, "it counts as none");
	pair_run(&pair, 11000000);
	cr_assert_eq(pair_stats(&pair.b).conversations, 1);
	cr_assert_eq(kcpvpn_node_next_deadline(pair.b.node), KCPVPN_NEVER);
	pair_close(&pair);
}

Test(conversations, a_new_beginning_replaces)
{
	struct kcpvpn_config config = plain_config();

	pair_open(&pair, &config, NULL);
	pair.b.keep_closed = true;
	push_from(50, 7, 0, 10);
	struct kcpvpn_conv *old = pair.b.conv;
	cr_assert_eq(pair_events(&pair.b),
		KCPVPN_EVENT_ACCEPTED | KCPVPN_EVENT_READABLE | KCPVPN_EVENT_ALIVE);
	push_from(50, 8, 5, 10);
	cr_assert_eq(pair_events(&pair.b), 0, "the middle of another one");
	push_from(50, 8, 0, 20);
	cr_assert_eq(pair_events(&pair.b), KCPVPN_EVENT_ACCEPTED | KCPVPN_EVENT_READABLE |
						   KCPVPN_EVENT_ALIVE | KCPVPN_EVENT_CLOSED);
	cr_assert_neq(pair.b.conv, old);
	cr_assert_eq(kcpvpn_conv_number(pair.b.conv), 8);
	cr_assert_eq(kcpvpn_conv_close_reason(old), KCPVPN_CLOSED_REPLACED);
	cr_assert_eq(kcpvpn_conv_close_reason(pair.b.conv), KCPVPN_OPEN);

	/* what had come is still there to be read, and nothing can be sent any more */
	uint8_t buf[64];
	size_t len;
	cr_assert_eq(kcpvpn_conv_recv(old, buf, sizeof(buf), pair.now_us, &len), 0);
	cr_assert_eq(len, 10);
	cr_assert_eq(kcpvpn_conv_send(old, buf, 1, pair.now_us), -EPIPE);
	cr_assert_eq(kcpvpn_conv_send_oob(old, buf, 1), -EPIPE);
	cr_assert_eq(kcpvpn_conv_send_space(old), 0);
	cr_assert_eq(kcpvpn_conv_window_room(old), 0);
	kcpvpn_conv_probe(old, pair.now_us);
	kcpvpn_conv_set_times(old, 1, 1, 1);
	pair_run(&pair, 1000000);
	cr_assert_eq(pair_events(&pair.b), 0, "an end is told once");
	kcpvpn_conv_close(old, pair.now_us);

	/* the old number, from its beginning, replaces the new one in turn */
	push_from(50, 7, 0, 30);
	cr_assert_eq(kcpvpn_conv_number(pair.b.conv), 7);
	cr_assert_eq(pair_stats(&pair.b).passive_opens, 3);
	cr_assert_eq(pair_stats(&pair.b).conversations, 2, "the one replaced is not freed yet");
	pair_close(&pair);
}

/* A segment in the middle of a conversation, from an end that has received 30 of ours. */
static void remnant_from(uint8_t host, uint32_t conv, uint32_t sn)
{
	struct craft craft = {0};
	struct craft_segment segment = {.conv = conv,
		.cmd = KCP_CMD_PUSH,
		.wnd = 128,
		.sn = sn,
		.una = 30,
		.len = 1000,
		.body = 1000};
	struct kcpvpn_endpoint from = pair_endpoint(host);

	craft_add_segment(&craft, &segment);
	craft_wrap_none(&craft);
	pair_inject(&pair.b, &from, craft.bytes, craft.len);
	kcpvpn_node_flush(pair.b.node, pair.now_us);
}

Test(conversations, remnants_have_a_bound_of_their_own)
{
	struct kcpvpn_config config = plain_config();

	config.convs_max = 2;
	pair_open(&pair, &config, NULL);
	for (uint8_t i = 0; i < 60; i++)
		remnant_from((uint8_t)(100 + i), 7, 40);
	cr_assert_eq(pair_stats(&pair.b).remnants, 60, "the oldest makes room");
	cr_assert_eq(pair_stats(&pair.b).conversations, 0);
	cr_assert_eq(pair_stats(&pair.b).conversations_max, 0);
	cr_assert_eq(pair_stats(&pair.b).drop_backlog, 0);
	push_from(50, 1, 0, 10);
	push_from(51, 1, 0, 10);
	cr_assert_eq(pair_stats(&pair.b).conversations, 2, "they are in nobody's way");
	remnant_from(159, 7, 41);
	cr_assert_eq(pair_stats(&pair.b).remnants, 60, "the youngest is known");
	remnant_from(100, 7, 41);
	cr_assert_eq(pair_stats(&pair.b).remnants, 61, "the oldest is not");
	pair_close(&pair);
}

static uint32_t told_una, told_wnd;
static unsigned told_cmds[256];

static bool read_answer(struct pair_end *from, uint8_t *bytes, size_t len)
{
	struct kcp_segment segment;

	if (from == &from->pair->b) {
		cr_assert(kcp_segment_peek(bytes + 20, len - 20, &segment));
		told_cmds[segment.cmd]++;
		told_una = segment.una;
		told_wnd = segment.wnd;
	}
	return true;
}

/* Whatever comes, a remnant keeps nothing of it, answers ten times a second at most, and ends when its time is over. */
Test(conversations, remnants_hold_nothing_and_end)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_endpoint from = pair_endpoint(1);

	pair_open(&pair, &config, NULL);
	pair.filter = read_answer;
	int64_t began = pair.now_us;
	int64_t answered = 0;
	for (uint32_t i = 0; pair.now_us < began + 9900000; i++) {
		struct craft oob = {.len = 10, .bytes = {7}};
		struct craft parity = {.len = 60};
		remnant_from(1, 7, i % 100 + 1);
		craft_wrap_fec(&oob, FEC_OOB_SEQID, FEC_TYPE_OOB, -1);
		craft_wrap_none(&oob);
		pair_inject(&pair.b, &from, oob.bytes, oob.len);
		craft_wrap_fec(&parity, i, FEC_TYPE_PARITY, -1);
		craft_wrap_none(&parity);
		pair_inject(&pair.b, &from, parity.bytes, parity.len);
		pair_run(&pair, 10000);
	}
	answered = (int64_t)told_cmds[KCP_CMD_WINS];
	cr_assert(answered >= 80 && answered <= 100, "%lld answers", (long long)answered);
	cr_assert_eq((int64_t)pair.b.datagrams, answered, "and nothing else");
	cr_assert_eq(told_una, 0);
	cr_assert_eq(told_wnd, 1);
	cr_assert_eq(pair_events(&pair.b), 0);
	struct kcpvpn_stats stats = pair_stats(&pair.b);
	cr_assert(stats.remnants == 1 && stats.oob_in == 0 && stats.in_segments == 0);
	/* all those datagrams did not prolong it */
	pair_run(&pair, 200000);
	remnant_from(1, 7, 40);
	cr_assert_eq(pair_stats(&pair.b).remnants, 2);
	pair_run(&pair, 11000000);
	cr_assert_eq(kcpvpn_node_next_deadline(pair.b.node), KCPVPN_NEVER);
	pair_close(&pair);
}

/* Only the beginning of another conversation ends one: not its middle, not what a longer one numbers 0, nothing out of band. */
Test(conversations, what_does_not_replace)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_endpoint from = pair_endpoint(50);
	struct craft craft = {.len = 10, .bytes = {9, 0, 0, 0, 'h', 'e', 'l', 'l', 'o', '!'}};

	pair_open(&pair, &config, NULL);
	push_from(50, 7, 0, 10);
	(void)pair_events(&pair.b);
	craft_wrap_fec(&craft, FEC_OOB_SEQID, FEC_TYPE_OOB, -1);
	craft_wrap_none(&craft);
	pair_inject(&pair.b, &from, craft.bytes, craft.len);
	cr_assert_eq(pair_stats(&pair.b).drop_conv, 1, "out of band");
	remnant_from(50, 9, 0);
	cr_assert_eq(pair_stats(&pair.b).drop_conv, 2, "number 0 of an end that has received");
	remnant_from(50, 9, 4);
	cr_assert_eq(pair_stats(&pair.b).drop_conv, 3, "the middle");
	cr_assert_eq(pair_events(&pair.b), 0);
	cr_assert_eq(kcpvpn_conv_number(pair.b.conv), 7);
	cr_assert_eq(kcpvpn_conv_close_reason(pair.b.conv), KCPVPN_OPEN);
	pair_close(&pair);
}

/* The new one comes first: if there is no room for it the old one lives on. */
Test(conversations, a_full_node_replaces_one_for_one)
{
	struct kcpvpn_config config = plain_config();

	config.convs_max = 2;
	pair_open(&pair, &config, NULL);
	push_from(50, 7, 0, 10);
	push_from(51, 7, 0, 10);
	push_from(50, 8, 0, 10);
	cr_assert_eq(kcpvpn_conv_number(pair.b.conv), 8);
	cr_assert_eq(pair.b.closed, 1);
	cr_assert_eq(pair_stats(&pair.b).conversations, 2);

	/* the program has not yet freed what ended: no second one beyond the bound */
	pair.b.keep_closed = true;
	push_from(50, 9, 0, 10);
	struct kcpvpn_conv *kept = pair.b.conv;
	cr_assert_eq(kcpvpn_conv_number(kept), 9);
	(void)pair_events(&pair.b);
	push_from(50, 10, 0, 10);
	cr_assert_eq(pair_stats(&pair.b).drop_backlog, 1);
	cr_assert_eq(pair_events(&pair.b), 0);
	cr_assert_eq(kcpvpn_conv_close_reason(kept), KCPVPN_OPEN);
	push_from(50, 9, 1, 10);
	cr_assert_eq(pair_events(&pair.b), KCPVPN_EVENT_READABLE, "it is found as before");
	pair_close(&pair);
}

/* Every event that there is, and then the program closes without having asked for them. */
Test(conversations, closing_with_events_that_nobody_took)
{
	struct kcpvpn_config config = pair_config();
	struct kcpvpn_conv *conv;
	unsigned events;

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
	pair_exchange(&pair);
	cr_assert_eq(kcpvpn_conv_send_oob(pair.b.conv, "x", 1), 0);
	cr_assert_eq(pair_send(&pair.b, 2, 100), 0);
	kcpvpn_node_flush(pair.b.node, pair.now_us);
	for (size_t i = 0; i < pair.b.out_count; i++) {
		struct kcpvpn_datagram d = {.remote = pair.b.address,
			.data = pair.b.out[i].bytes,
			.len = pair.b.out[i].len};
		kcpvpn_node_input(pair.a.node, &pair.a.port, false, &d, 1, pair.now_us);
	}
	pair.b.out_count = 0;
	kcpvpn_conv_close(pair.a.conv, pair.now_us);
	cr_assert_null(kcpvpn_node_next_event(pair.a.node, &events));
	kcpvpn_node_flush(pair.a.node, pair.now_us);
	cr_assert_eq(kcpvpn_node_next_deadline(pair.a.node), KCPVPN_NEVER);

	/* and one that ended by itself */
	cr_assert_eq(
		kcpvpn_node_dial(pair.a.node, &pair.a.port, &pair.b.address, 6, pair.now_us, &conv),
		0);
	kcpvpn_conv_set_times(conv, 0, 0, 1000);
	kcpvpn_node_flush(pair.a.node, pair.now_us);
	pair.now_us += 2000;
	kcpvpn_node_on_deadline(pair.a.node, pair.now_us);
	cr_assert_eq(kcpvpn_conv_close_reason(conv), KCPVPN_CLOSED_IDLE);
	kcpvpn_conv_close(conv, pair.now_us);
	cr_assert_null(kcpvpn_node_next_event(pair.a.node, &events));
	pair_close(&pair);
}

Test(conversations, a_dialled_one_is_not_replaced_where_none_is_accepted)
{
	struct kcpvpn_config config = plain_config();
	struct craft craft = {0};
	struct craft_segment segment = {.conv = 99, .cmd = KCP_CMD_PUSH, .wnd = 128};

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	craft_add_segment(&craft, &segment);
	craft_wrap_none(&craft);
	pair_inject(&pair.a, &pair.b.address, craft.bytes, craft.len);
	cr_assert_eq(pair_stats(&pair.a).drop_conv, 1);
	cr_assert_eq(kcpvpn_conv_close_reason(pair.a.conv), KCPVPN_OPEN);
	pair_close(&pair);
}

/* What freed conversations counted stays in the node's sums. */
Test(conversations, closing_sends_what_waits_and_keeps_the_counters)
{
	struct kcpvpn_config config = pair_config();

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	cr_assert_eq(pair_send(&pair.a, 1, 700), 0);
	kcpvpn_conv_close(pair.a.conv, pair.now_us);
	pair.a.conv = NULL;
	pair_exchange(&pair);
	pair_expect(&pair.b, 1, 700);
	struct kcpvpn_stats stats = pair_stats(&pair.a);
	cr_assert(stats.bytes_sent == 700 && stats.out_segments == 1 && stats.conversations == 0);
	cr_assert_eq(stats.conversations_max, 1);

	/* closing in the middle of everything: events pending, timers armed, messages not taken */
	pair_dial(&pair, 6);
	cr_assert_eq(pair_send(&pair.a, 1, 3000), 0);
	cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, "x", 1), 0);
	pair_exchange(&pair);
	cr_assert_eq(pair.b.closed, 1, "replaced by the new number");
	kcpvpn_conv_close(pair.b.conv, pair.now_us);
	kcpvpn_conv_close(pair.a.conv, pair.now_us);
	pair.a.conv = pair.b.conv = NULL;
	pair_run(&pair, 1000000);
	cr_assert_eq(kcpvpn_node_next_deadline(pair.a.node), KCPVPN_NEVER);
	pair_close(&pair);
	kcpvpn_node_free(NULL);
}

static unsigned sent_to[4];

static void count_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	unsigned *counter = ctx;

	for (size_t i = 0; i < count; i++)
		cr_assert(batch[i].len > 0);
	*counter += (unsigned)count;
}

/* Answers leave by the port, and from the own address, that the conversation was reached at. */
Test(conversations, several_ports_in_one_batch)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_udp_port ports[4];
	struct kcpvpn_conv *convs[4];
	struct kcpvpn_endpoint far = pair_endpoint(9);

	pair_open(&pair, &config, NULL);
	for (int i = 0; i < 4; i++) {
		ports[i] = (struct kcpvpn_udp_port){count_send, &sent_to[i]};
		cr_assert_eq(
			kcpvpn_node_dial(pair.a.node, &ports[i], &far, 1, pair.now_us, &convs[i]),
			0);
	}
	for (int i = 0; i < 4; i++)
		for (int n = 0; n <= i; n++)
			cr_assert_eq(kcpvpn_conv_send(convs[i], "x", 1, pair.now_us), 0);
	for (int i = 0; i < 4; i++) {
		uint8_t large[1000] = {0};
		for (int n = 0; n <= i; n++)
			cr_assert_eq(
				kcpvpn_conv_send(convs[i], large, sizeof(large), pair.now_us), 0);
	}
	kcpvpn_node_flush(pair.a.node, pair.now_us);
	cr_assert_eq(pair_stats(&pair.a).out_datagrams,
		sent_to[0] + sent_to[1] + sent_to[2] + sent_to[3]);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(sent_to[i] >= i + 1 && (i == 0 || sent_to[i] > sent_to[i - 1]), "port %u",
			i);
	pair_close(&pair);
}

static struct kcpvpn_endpoint last_local;

static void note_local(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	(void)ctx;
	cr_assert(count > 0);
	last_local = batch[count - 1].local;
}

/* A host with several addresses: an answer leaves from the one that was asked last. */
Test(conversations, answers_leave_from_where_the_peer_reached_us)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_udp_port port = {.send = note_local};
	struct kcpvpn_endpoint far = pair_endpoint(9);
	struct kcpvpn_conv *conv;

	pair_open(&pair, &config, NULL);
	cr_assert_eq(kcpvpn_node_dial(pair.a.node, &port, &far, 7, pair.now_us, &conv), 0);
	kcpvpn_conv_probe(conv, pair.now_us);
	kcpvpn_node_flush(pair.a.node, pair.now_us);
	cr_assert_eq(last_local.family, 0, "not known yet: the system chooses");
	for (uint8_t host = 30; host < 33; host++) {
		struct craft craft = {0};
		struct craft_segment segment = {.conv = 7, .cmd = KCP_CMD_WASK, .wnd = 128};
		struct kcpvpn_endpoint local = pair_endpoint(host);
		craft_add_segment(&craft, &segment);
		craft_wrap_none(&craft);
		struct kcpvpn_datagram d = {
			.remote = far, .local = local, .data = craft.bytes, .len = craft.len};
		kcpvpn_node_input(pair.a.node, &port, false, &d, 1, pair.now_us);
		kcpvpn_conv_probe(conv, pair.now_us);
		kcpvpn_node_flush(pair.a.node, pair.now_us);
		cr_assert(kcpvpn_endpoint_equal(&last_local, &local), "host %u", (unsigned)host);
	}
	pair_close(&pair);
}

/* Numbers of datagrams tell what was lost between them; what jumps far has begun anew, or wrapped, and lost nothing. */
Test(conversations, numbers_that_jump_are_no_loss)
{
	static const struct {
		uint32_t seqid;
		uint64_t numbers; /* in all, afterwards */
	} rows[] = {
		{10, 1},
		{14, 5},
		{12, 5},
		{14 + 4096, 5 + 4096},
		{14 + 4096 + 4097, 5 + 4096 + 1},
		{14 + 4096 + 4098, 5 + 4096 + 2},
		{3, 5 + 4096 + 3},
		{4, 5 + 4096 + 4},
		{0x80000004u, 5 + 4096 + 5},
	};
	struct kcpvpn_config config = plain_config();

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct craft craft = {.len = 60};
		craft_wrap_fec(&craft, rows[i].seqid, FEC_TYPE_PARITY, -1);
		craft_wrap_none(&craft);
		pair_inject(&pair.a, &pair.b.address, craft.bytes, craft.len);
		struct kcpvpn_conv_stats stats = pair_conv_stats(&pair.a);
		cr_assert_eq(stats.fec_numbered_in, i + 1);
		cr_assert_eq(stats.fec_numbers_in, rows[i].numbers, "row %zu: %lu", i,
			(unsigned long)stats.fec_numbers_in);
	}
	pair_close(&pair);
}

static const struct kcpvpn_udp_port *used;

static void note_use(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	(void)batch;
	(void)count;
	used = ctx;
}

static void ask_at(const struct kcpvpn_udp_port *port, uint8_t host, uint32_t una)
{
	struct craft craft = {0};
	struct craft_segment segment = {
		.conv = 7, .cmd = KCP_CMD_WASK, .wnd = 128, .sn = 40, .una = una};

	craft_add_segment(&craft, &segment);
	craft_wrap_none(&craft);
	struct kcpvpn_datagram d = {
		.remote = pair_endpoint(host), .data = craft.bytes, .len = craft.len};
	kcpvpn_node_input(pair.b.node, port, true, &d, 1, pair.now_us);
}

/* A port may go at any time, with all that would still use it: conversations of the program's, and remnants. */
Test(conversations, closing_a_port_takes_all_its_conversations)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_udp_port *port = malloc(sizeof(*port));
	struct kcpvpn_conv *conv, *stays;
	unsigned events;

	cr_assert_not_null(port);
	*port = (struct kcpvpn_udp_port){note_use, port};
	pair_open(&pair, &config, NULL);
	struct kcpvpn_endpoint far = pair_endpoint(9);
	cr_assert_eq(kcpvpn_node_dial(pair.b.node, port, &far, 1, pair.now_us, &conv), 0);
	cr_assert_eq(kcpvpn_node_dial(pair.b.node, &pair.b.port, &far, 1, pair.now_us, &stays), 0);
	cr_assert_eq(kcpvpn_conv_send(conv, "last", 4, pair.now_us), 0);
	for (uint8_t host = 100; host < 104; host++)
		ask_at(port, host, host & 1);
	cr_assert_eq(pair_stats(&pair.b).remnants, 2);
	cr_assert_eq(pair_stats(&pair.b).conversations, 4);
	used = NULL;
	kcpvpn_node_close_port(pair.b.node, port, pair.now_us);
	cr_assert_eq(used, port, "what was ready left");
	ask_at(port, 101, 1);
	cr_assert_eq(pair_stats(&pair.b).remnants, 3, "the one before is gone");
	kcpvpn_node_close_port(pair.b.node, port, pair.now_us);
	free(port);
	cr_assert_eq(pair_stats(&pair.b).conversations, 1);
	while (kcpvpn_node_next_event(pair.b.node, &events))
		cr_assert_fail("an event of what is gone");
	pair_run(&pair, 20000000);
	cr_assert_eq(kcpvpn_conv_close_reason(stays), KCPVPN_OPEN);
	pair_close(&pair);
}

Test(conversations, many_at_once)
{
	struct kcpvpn_config config = plain_config();

	config.convs_max = 3000;
	pair_open(&pair, &config, NULL);
	for (uint32_t i = 0; i < 3000; i++) {
		struct craft craft = {0};
		struct craft_segment segment = {
			.conv = i, .cmd = KCP_CMD_PUSH, .wnd = 128, .len = 4, .body = 4};
		struct kcpvpn_endpoint from = pair_endpoint((uint8_t)i);
		from.port = (uint16_t)(i / 256 + 1);
		craft_add_segment(&craft, &segment);
		craft_wrap_none(&craft);
		pair_inject(&pair.b, &from, craft.bytes, craft.len);
		cr_assert_eq(kcpvpn_conv_number(pair.b.conv), i);
	}
	cr_assert_eq(pair_stats(&pair.b).conversations, 3000);
	cr_assert_eq(pair_stats(&pair.b).drop_backlog, 0);
	kcpvpn_node_free(pair.b.node);
	pair.b.node = NULL;
	pair_close(&pair);
}
