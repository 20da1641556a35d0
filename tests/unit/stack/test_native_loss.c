/* What is told of loss on the way here: what the link lost, and what was missing in the end, between two nodes in virtual time. */
#include "native_load.h"

#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	PACKET_BYTES = 200,
};

static struct native_pair pair;
static struct native_load load;

static struct kcpvpn_peer *peer_of(size_t end)
{
	return pair.ends[end].peers[1 - end];
}

static struct kcpvpn_peer_status status_of(size_t end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(peer_of(end), &status);
	return status;
}

/* Without repairs: what is not sent again in time is missing. */
static void open_up(unsigned loss_percent, int64_t delay_us)
{
	struct native_end_options options = native_pair_options();

	options.peer.fec = (struct kcpvpn_fec_config){0};
	native_pair_open(&pair, 8, &options);
	for (size_t i = 0; i < 2; i++)
		pair.ends[i].link = (struct native_link){
			.loss_ppm = loss_percent * 10000, .delay_us = delay_us};
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 60 * S));
	native_pair_run(&pair, S);
}

static void is_near(const char *what, double seen, double wanted, double most)
{
	cr_assert(seen >= wanted - most && seen <= wanted + most, "%s: %f, not %f", what, seen,
		wanted);
}

Test(native_loss, what_is_sent_again_is_not_missing)
{
	open_up(10, 30 * MS);
	native_load_init(&load, &pair);
	for (size_t flow = 0; flow < 6; flow++)
		load.ways[0].flows[flow].kind = NATIVE_LOAD_TCP;
	for (unsigned i = 0; i < 2000; i++) {
		cr_assert_eq(native_load_give(&load, 0, i % 6, 1000), 0);
		native_pair_run(&pair, 10 * MS);
		if (i > 200)
			is_near("residual loss", status_of(1).loss_residual_in, 0, 0);
	}
	native_pair_run(&pair, 2 * S);
	cr_assert_eq(load.ways[0].came, load.ways[0].given);
	is_near("raw loss", status_of(1).loss_raw_in, 0.1, 0.03);
	native_pair_fini(&pair);
}

static struct {
	uint32_t given, came;
} call;

static void hear(struct native_end *end, size_t peer, const uint8_t *bytes, size_t len)
{
	(void)end;
	(void)peer;
	(void)bytes;
	cr_assert_eq(len, PACKET_BYTES);
	call.came++;
}

static void talk(uint32_t packets)
{
	uint8_t packet[PACKET_BYTES];

	for (uint32_t i = 0; i < packets; i++) {
		native_pair_packet(packet, sizeof(packet), 1, 2, 5000, call.given++);
		cr_assert_eq(kcpvpn_peer_send(peer_of(0), packet, sizeof(packet), pair.now_us), 0);
		native_pair_run(&pair, 20 * MS);
	}
}

/* An urgent packet lives 150 ms: where the round trip takes longer, what is lost once is missing. */
Test(native_loss, what_comes_too_late_is_missing)
{
	open_up(20, 200 * MS);
	pair.on_message = hear;
	memset(&call, 0, sizeof(call));
	talk(250);
	native_pair_run(&pair, S);
	struct kcpvpn_peer_status b = status_of(1);
	double missing = 1 - (double)call.came / call.given;
	cr_assert_gt(missing, 0.1);
	is_near("residual loss", b.loss_residual_in, missing, 0.03);
	is_near("raw loss", b.loss_raw_in, 0.2, 0.06);

	/* The next ten seconds know nothing of these. */
	for (size_t i = 0; i < 2; i++)
		pair.ends[i].link.loss_ppm = 0;
	talk(1000);
	is_near("residual loss", status_of(1).loss_residual_in, 0, 0);
	is_near("raw loss", status_of(1).loss_raw_in, 0, 0);

	/* After a silence both sides begin flows anew, where the sender's went on: nothing was lost between. */
	native_pair_run(&pair, 20 * S);
	cr_assert_lt(status_of(1).loss_residual_in, 0.001);
	static const int64_t silences[] = {65 * S, 100 * S};
	for (size_t i = 0; i < 2; i++) {
		native_pair_run(&pair, silences[i]);
		talk(50);
		native_pair_run(&pair, S);
		is_near("residual loss", status_of(1).loss_residual_in, 0, 0);
	}
	native_pair_fini(&pair);
}

/* What the other side cannot have any more is given up by deadline: all that the link loses for longer than that. */
Test(native_loss, an_outage_is_missing_and_is_forgotten)
{
	open_up(0, 30 * MS);
	pair.on_message = hear;
	memset(&call, 0, sizeof(call));
	talk(100);
	pair.ends[0].link.loss_ppm = 1000000;
	talk(50);
	pair.ends[0].link.loss_ppm = 0;
	talk(100);
	native_pair_run(&pair, S);
	is_near("residual loss", status_of(1).loss_residual_in, 1 - (double)call.came / call.given,
		0.02);
	cr_assert_gt(status_of(1).loss_residual_in, 0.1);
	talk(1000);
	is_near("residual loss", status_of(1).loss_residual_in, 0, 0);
	native_pair_fini(&pair);
}

/* Another path than the one that was looked at: nothing is known of it, rather than nonsense. */
Test(native_loss, a_path_of_before_says_nothing)
{
	struct native_loss_in loss = {.since = MONO_NEVER};
	struct mono now = mono_at_ms(1);

	open_up(0, 30 * MS);
	pair.on_message = hear;
	talk(20);
	const struct kcp_path *path = peer_of(1)->data.path;
	cr_assert_gt(kcp_path_arrivals(path).due, 0);
	cr_assert_lt(native_loss_in_residual(&loss, path, now), 0);
	native_loss_in_note(&loss, path, 5, 5, now);
	cr_assert(native_loss_in_residual(&loss, path, now) >= 0);
	cr_assert_lt(native_loss_in_residual(&loss, NULL, now), 0);
	native_pair_fini(&pair);
}
