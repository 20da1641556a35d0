#include "handshake_ends.h"

#include "crypto/handshake_mac.h"

#include <criterion/criterion.h>
#include <string.h>

static void fill(void *ctx, void *buf, size_t len)
{
	uint64_t *state = ctx;
	uint8_t *bytes = buf;

	for (size_t i = 0; i < len; i++) {
		uint64_t z = *state += 0x9e3779b97f4a7c15u;
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		bytes[i] = (uint8_t)(z >> 56);
	}
}

void handshake_ends_init(
	struct handshake_ends *ends, uint64_t seed, const uint8_t network_key[HANDSHAKE_KEY_BYTES])
{
	uint8_t private_key[HANDSHAKE_KEY_BYTES], psk[HANDSHAKE_KEY_BYTES];

	memset(ends, 0, sizeof(*ends));
	ends->seed = seed;
	ends->rnd = (struct rand_source){fill, &ends->seed};
	rand_fill(&ends->rnd, private_key, sizeof(private_key));
	cr_assert_eq(handshake_self_init(&ends->a, private_key, network_key), 0);
	rand_fill(&ends->rnd, private_key, sizeof(private_key));
	cr_assert_eq(handshake_self_init(&ends->b, private_key, network_key), 0);
	rand_fill(&ends->rnd, psk, sizeof(psk));
	cr_assert_eq(handshake_peer_init(&ends->a_at_b, &ends->b, ends->a.public_key, psk), 0);
	cr_assert_eq(handshake_peer_init(&ends->b_at_a, &ends->a, ends->b.public_key, psk), 0);
	rand_fill(&ends->rnd, ends->params_a, sizeof(ends->params_a));
	rand_fill(&ends->rnd, ends->params_b, sizeof(ends->params_b));
}

void handshake_ends_write_init(struct handshake_ends *ends)
{
	handshake_init_write(&ends->attempt, &ends->a, &ends->b_at_a, HANDSHAKE_ENDS_INDEX,
		ends->params_a, &ends->rnd, ends->init);
}

void handshake_ends_read_init(struct handshake_ends *ends)
{
	uint8_t peer_public[HANDSHAKE_KEY_BYTES], params[HANDSHAKE_PARAMS_BYTES];

	cr_assert(handshake_init_mac1_ok(&ends->b, ends->init));
	cr_assert_eq(
		handshake_init_open_static(&ends->b, ends->init, &ends->responder, peer_public),
		HANDSHAKE_OK);
	cr_assert_arr_eq(peer_public, ends->a.public_key, sizeof(peer_public));
	cr_assert_eq(ends->responder.sender_index, HANDSHAKE_ENDS_INDEX);
	cr_assert_eq(
		handshake_init_open_params(&ends->responder, &ends->a_at_b, params), HANDSHAKE_OK);
	cr_assert_arr_eq(params, ends->params_a, sizeof(params));
}

void handshake_ends_write_resp(struct handshake_ends *ends)
{
	cr_assert_eq(handshake_resp_write(&ends->responder, &ends->a_at_b, ends->params_b,
			     &ends->rnd, ends->resp, &ends->keys_b),
		HANDSHAKE_OK);
}

void handshake_ends_remac_init(
	const struct handshake_ends *ends, uint8_t init[HANDSHAKE_INIT_BYTES])
{
	handshake_mac(init + HANDSHAKE_INIT_AT_MAC1, ends->b.mac1_key, HANDSHAKE_KEY_BYTES, init,
		HANDSHAKE_INIT_AT_MAC1);
}

void handshake_ends_remac_resp(
	const struct handshake_ends *ends, uint8_t resp[HANDSHAKE_RESP_BYTES])
{
	handshake_mac(resp + 104, ends->a.mac1_key, HANDSHAKE_KEY_BYTES, resp, 104);
}
