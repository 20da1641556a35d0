/*
 * Replays what kcp-go 5.6.1 and 5.6.72 did under a set clock and compares every return value, every datagram and the
 * whole state after each step. kcp-go's Update and Check are emulated here: the engine has deadlines instead.
 */
#include "core/pool.h"
#include "kcp/kcp.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DATAGRAMS_MAX = 256,
	BYTES_MAX = 65536,
	STATE_FIELDS = 17,
};

struct peer {
	struct kcp *kcp;
	uint32_t interval_ms;
	uint8_t room[1500];
	uint8_t out[DATAGRAMS_MAX][1500];
	size_t out_len[DATAGRAMS_MAX];
	size_t out_count;
	bool updated; /* kcp-go's Update */
	uint32_t ts_flush;
};

static uint8_t *begin(void *ctx)
{
	return ((struct peer *)ctx)->room;
}

static void end(void *ctx, size_t len, unsigned flags)
{
	struct peer *peer = ctx;

	cr_assert(peer->out_count < DATAGRAMS_MAX && len <= sizeof(peer->room) && flags != 0);
	memcpy(peer->out[peer->out_count], peer->room, len);
	peer->out_len[peer->out_count++] = len;
}

static size_t unhex(const char *text, uint8_t *to)
{
	size_t len = strlen(text) / 2;

	cr_assert(len <= BYTES_MAX);
	for (size_t i = 0; i < len; i++) {
		unsigned byte;
		cr_assert_eq(sscanf(text + 2 * i, "%2x", &byte), 1);
		to[i] = (uint8_t)byte;
	}
	return len;
}

static json_int_t nth(const json_t *array, size_t i)
{
	return json_integer_value(json_array_get(array, i));
}

static void open_peer(struct peer *peer, const json_t *scenario, struct pool *pool,
	enum kcp_profile profile, bool ack_no_delay)
{
	const json_t *config = json_object_get(scenario, "config");
	const json_t *nodelay = json_object_get(config, "nodelay");
	const json_t *wnd = json_object_get(config, "wnd");
	struct kcp_config c = {
		.conv = (uint32_t)json_integer_value(json_object_get(scenario, "conv")),
		.profile = profile,
		.mtu_bytes = (uint32_t)json_integer_value(json_object_get(config, "mtu")),
		.nodelay = nth(nodelay, 0) != 0,
		.interval_ms = (uint32_t)nth(nodelay, 1),
		.fast_resend = (uint32_t)nth(nodelay, 2),
		.no_congestion_window = nth(nodelay, 3) != 0,
		.snd_wnd = (uint32_t)nth(wnd, 0),
		.rcv_wnd = (uint32_t)nth(wnd, 1),
		.stream = json_integer_value(json_object_get(config, "stream")) != 0,
		.ack_no_delay = ack_no_delay,
		.send_queue_max_segments = 1024,
		.pool = pool,
		.start_sn = (uint32_t)json_integer_value(json_object_get(config, "start_sn")),
	};
	struct kcp_output output = {.ctx = peer, .begin = begin, .end = end};

	memset(peer, 0, sizeof(*peer));
	peer->interval_ms = c.interval_ms;
	cr_assert_eq(kcp_new(&c, &output, &peer->kcp), 0);
}

static json_int_t do_flush(struct peer *peer, struct mono now)
{
	struct kcp_debug_state st;

	kcp_flush(peer->kcp, false, now);
	kcp_debug_state(peer->kcp, now, &st);
	return st.nearest_due_ms < (int32_t)peer->interval_ms ? st.nearest_due_ms
							      : (json_int_t)peer->interval_ms;
}

static json_int_t do_update(struct peer *peer, struct mono now)
{
	uint32_t ms = kcp_segment_ms(now);

	if (!peer->updated) {
		peer->updated = true;
		peer->ts_flush = ms;
	}
	if ((int32_t)(ms - peer->ts_flush) >= 0) {
		peer->ts_flush += peer->interval_ms;
		if ((int32_t)(ms - peer->ts_flush) >= 0)
			peer->ts_flush = ms + peer->interval_ms;
		kcp_flush(peer->kcp, false, now);
	}
	return 0;
}

static json_int_t do_check(struct peer *peer, struct mono now)
{
	uint32_t ms = kcp_segment_ms(now);
	struct kcp_debug_state st;

	kcp_debug_state(peer->kcp, now, &st);
	int32_t wait = (int32_t)(peer->ts_flush - ms);
	if (wait <= 0 || st.nearest_due_ms <= 0)
		return ms;
	if (st.nearest_due_ms < wait)
		wait = st.nearest_due_ms;
	if (wait > (int32_t)peer->interval_ms)
		wait = (int32_t)peer->interval_ms;
	return ms + (uint32_t)wait;
}

static json_int_t do_send(struct peer *peer, const json_t *step, struct mono now)
{
	static uint8_t bytes[BYTES_MAX];
	const char *data = json_string_value(json_object_get(step, "data"));
	size_t len;

	if (data) {
		len = unhex(data, bytes);
	} else {
		len = (size_t)json_integer_value(json_object_get(step, "len"));
		cr_assert(len <= sizeof(bytes));
		memset(bytes, (int)json_integer_value(json_object_get(step, "fill")), len);
	}
	int err = kcp_send(peer->kcp, bytes, len, now);
	return err == -EINVAL ? -1 : err == -EMSGSIZE ? -2 : err;
}

static json_int_t do_input(struct peer *peer, const json_t *step, struct mono now)
{
	static uint8_t bytes[BYTES_MAX];
	size_t len = unhex(json_string_value(json_object_get(step, "data")), bytes);
	enum kcp_input_verdict verdict =
		kcp_input(peer->kcp, bytes, len, json_is_true(json_object_get(step, "fec")), now);
	static const int want[KCP_INPUT_VERDICTS] = {
		[KCP_INPUT_SHORT] = -1,
		[KCP_INPUT_WRONG_CONV] = -1,
		[KCP_INPUT_BAD_LEN] = -2,
		[KCP_INPUT_BAD_CMD] = -3,
	};

	if (verdict == KCP_INPUT_OK)
		kcp_input_done(peer->kcp, now);
	return want[verdict];
}

static json_int_t do_recv(struct peer *peer, const json_t *step, const char *where)
{
	static uint8_t bytes[BYTES_MAX];
	static uint8_t want[BYTES_MAX];
	const char *data = json_string_value(json_object_get(step, "data"));
	size_t len = 0;
	int64_t peek = kcp_peek_len(peer->kcp);
	int err = kcp_recv(peer->kcp, bytes, sizeof(bytes), &len);

	if (err < 0) {
		cr_assert_eq(peek, -EAGAIN, "%s: peek", where);
		return -1;
	}
	cr_assert_eq(peek, (int64_t)len, "%s: peek", where);
	if (data) {
		cr_assert_eq(unhex(data, want), len, "%s: length", where);
		cr_assert(memcmp(want, bytes, len) == 0, "%s: bytes", where);
	}
	return (json_int_t)len;
}

static void compare_out(const struct peer *peer, const json_t *step, const char *where)
{
	static uint8_t want[BYTES_MAX];
	const json_t *out = json_object_get(step, "out");

	cr_assert_eq(peer->out_count, json_array_size(out), "%s: %zu datagrams, not %zu", where,
		peer->out_count, json_array_size(out));
	for (size_t i = 0; i < peer->out_count; i++) {
		size_t len = unhex(json_string_value(json_array_get(out, i)), want);
		cr_assert_eq(peer->out_len[i], len, "%s: datagram %zu has %zu bytes, not %zu",
			where, i, peer->out_len[i], len);
		for (size_t j = 0; j < len; j++)
			cr_assert_eq(peer->out[i][j], want[j], "%s: datagram %zu, byte %zu", where,
				i, j);
	}
}

static void compare_state(
	const struct peer *peer, const json_t *step, struct mono now, const char *where)
{
	const json_t *st = json_object_get(step, "st");
	struct kcp_debug_state state;

	kcp_debug_state(peer->kcp, now, &state);
	const uint32_t got[STATE_FIELDS] = {state.snd_una, state.snd_nxt, state.rcv_nxt, state.cwnd,
		state.ssthresh, state.incr, state.srtt, state.rttvar, state.rto, state.rmt_wnd,
		state.state, state.nsnd_buf, state.nsnd_que, state.nrcv_buf, state.nrcv_que,
		state.probe, state.nack};
	cr_assert_eq(json_array_size(st), STATE_FIELDS);
	for (size_t i = 0; i < STATE_FIELDS; i++)
		cr_assert_eq(got[i], (uint32_t)nth(st, i), "%s: state %zu is %u, not %u", where, i,
			got[i], (uint32_t)nth(st, i));
}

static void replay_step(struct peer *peer, const json_t *step, const char *where)
{
	const char *op = json_string_value(json_object_get(step, "op"));
	struct mono now = mono_at_ms(json_integer_value(json_object_get(step, "t")));
	json_int_t ret = 0;

	peer->out_count = 0;
	if (strcmp(op, "send") == 0)
		ret = do_send(peer, step, now);
	else if (strcmp(op, "input") == 0)
		ret = do_input(peer, step, now);
	else if (strcmp(op, "flush") == 0)
		ret = do_flush(peer, now);
	else if (strcmp(op, "recv") == 0)
		ret = do_recv(peer, step, where);
	else if (strcmp(op, "update") == 0)
		ret = do_update(peer, now);
	else if (strcmp(op, "check") == 0)
		ret = do_check(peer, now);
	else
		cr_assert(false, "%s: unknown op", where);
	compare_out(peer, step, where);
	compare_state(peer, step, now, where);
	if (json_object_get(step, "ret"))
		cr_assert_eq(ret, json_integer_value(json_object_get(step, "ret")),
			"%s: returned %lld", where, (long long)ret);
}

static bool any_ack_no_delay(const json_t *steps)
{
	size_t i;
	json_t *step;

	json_array_foreach(steps, i, step)
	{
		if (json_is_true(json_object_get(step, "acknodelay")))
			return true;
	}
	return false;
}

static size_t replay(const json_t *scenario, enum kcp_profile profile)
{
	static struct peer a, b;
	const char *name = json_string_value(json_object_get(scenario, "name"));
	const json_t *steps = json_object_get(scenario, "steps");
	bool ack_no_delay = any_ack_no_delay(steps);
	struct pool pool;
	json_t *step;
	size_t i;

	pool_init(&pool, KCP_PEER_MTU_BYTES - KCP_OVERHEAD_BYTES, 4096);
	open_peer(&a, scenario, &pool, profile, ack_no_delay);
	open_peer(&b, scenario, &pool, profile, ack_no_delay);
	json_array_foreach(steps, i, step)
	{
		char where[128];
		const char *who = json_string_value(json_object_get(step, "who"));
		snprintf(where, sizeof(where), "%s, step %zu (%s %s)", name, i, who,
			json_string_value(json_object_get(step, "op")));
		replay_step(who[0] == 'a' ? &a : &b, step, where);
	}
	kcp_free(a.kcp);
	kcp_free(b.kcp);
	cr_assert_eq(pool.slots_used, 0, "%s: slots are lost", name);
	pool_fini(&pool);
	return i;
}

static void replay_file(const char *path, enum kcp_profile profile)
{
	json_error_t error;
	json_t *document = json_load_file(path, 0, &error);
	const json_t *scenarios = json_object_get(document, "scenarios");
	json_t *scenario;
	size_t i, steps = 0;

	cr_assert(document, "%s: %s", path, error.text);
	cr_assert_eq(json_array_size(scenarios), 15);
	json_array_foreach(scenarios, i, scenario) steps += replay(scenario, profile);
	cr_assert(steps > 300);
	json_decref(document);
}

Test(transcripts, kcp_go_5_6_1)
{
	replay_file(TESTS_DIR "/vectors/data/kcp.json", KCP_PROFILE_5_6_1);
}

Test(transcripts, kcp_go_5_6_72)
{
	replay_file(TESTS_DIR "/vectors/data/kcp-5.6.72.json", KCP_PROFILE_5_6_72);
}
