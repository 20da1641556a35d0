#include "config/config.h"
#include "core/pool.h"
#include "core/rand.h"
#include "vpnd/peer.h"

#include <criterion/criterion.h>
#include <string.h>

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 1, len);
}

static struct config *parse(const char *text)
{
	static struct config_report report;
	struct config *config = NULL;

	cr_assert_eq(config_parse_text("t.yaml", text, strlen(text), NULL, &config, &report), 0,
		"%s", report.errors[0].text);
	return config;
}

#define HEAD "version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"

Test(peer, drop_counters_have_names_of_their_own)
{
	for (int i = 0; i < PEER_DROPS; i++) {
		cr_assert(strlen(peer_drop_str((enum peer_drop)i)) > 3);
		cr_assert(strcmp(peer_drop_str((enum peer_drop)i), "unknown") != 0);
		for (int k = 0; k < i; k++)
			cr_assert(strcmp(peer_drop_str((enum peer_drop)i),
					  peer_drop_str((enum peer_drop)k)) != 0);
	}
}

Test(peer, follows_file_and_orders)
{
	struct config *before = parse(HEAD "peers: {branch: {transport: {queue: 120ms}}}\n");
	struct config *after =
		parse(HEAD "peers: {branch: {enabled: false, transport: {queue: 80ms}}}\n");
	struct rand_source rnd = {fill_random, NULL};
	struct pool pool;

	pool_init(&pool, ingress_slot_bytes(100), 10);
	struct peer *peer = peer_new(&before->peers[0], &rnd);
	cr_assert(peer);
	cr_assert_str_eq(peer->name, "branch");
	cr_assert_eq(peer->queue.options.wait_max_us, 120000);
	cr_assert(peer_wanted(peer));
	peer->ordered_down = true;
	cr_assert(!peer_wanted(peer));

	peer_set_config(peer, &after->peers[0]);
	config_free(before);
	cr_assert_eq(peer->queue.options.wait_max_us, 80000);
	cr_assert_str_eq(peer->name, "branch");
	cr_assert(!peer_wanted(peer));
	peer->ordered_down = false;
	cr_assert(!peer_wanted(peer), "enabled: false");

	/* What waits goes back with it. */
	struct ingress_packet *packet = ingress_packet_take(&pool);
	packet->len = 1;
	packet->data[0] = 0;
	(void)ingress_push(&peer->queue, packet, NULL, mono_at_us(0));
	cr_assert_eq(pool.slots_used, 1);
	peer_free(peer);
	cr_assert_eq(pool.slots_used, 0);
	peer_free(NULL);
	pool_fini(&pool);
	config_free(after);
}
