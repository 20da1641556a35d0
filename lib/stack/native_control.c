/*
 * CONTROL, both ways: what a datagram asks for is collected while the path reads it, and answered in one datagram afterwards.
 *
 * An answer is as long as its question, TLV by TLV, so the answering datagram is never longer than the one that asked; it is
 * still measured before it leaves. It goes to the address in use. Only if it holds a PATH_RESPONSE it goes to where the
 * question came from: that is what the other side wants to know.
 *
 * What changes the path (an answered challenge) or ends the session (CLOSE) waits until the datagram has been read to its end.
 */
#include "stack/native_state.h"

#include <string.h>

enum {
	CLOSE_DATAGRAMS = 3, /* nobody acknowledges a CLOSE */
};

/* Header, head of the plaintext, header of the segment, tag. */
static size_t control_datagram_bytes(size_t body)
{
	return KCPVPN_NATIVE_OVERHEAD_BYTES - 12 + body;
}

void native_reply_begin(struct native_reply *reply, const struct native_address *from,
	size_t datagram_bytes, bool plain)
{
	reply->from = *from;
	reply->datagram_bytes = datagram_bytes;
	reply->plain = plain;
	reply->to_source = false;
	reply->closed = false;
	reply->tlvs = 0;
	reply->answers_count = 0;
	reply->out = session_control_build(reply->bytes, sizeof(reply->bytes));
}

bool native_control_check(void *ctx, const uint8_t *body, size_t len)
{
	struct kcpvpn_peer *peer = ctx;

	return session_control_check(body, len, &peer->native->data.reply.tlvs) ==
	       SESSION_CONTROL_OK;
}

static void act_on(struct kcpvpn_peer *peer, struct native_reply *reply,
	const struct session_control_tlv *tlv, struct mono now)
{
	struct path_mtu_probe probe = {tlv->mtu_bytes, tlv->mtu_id};

	switch (tlv->type) {
	case SESSION_CONTROL_PING:
		(void)session_control_put_token(&reply->out, SESSION_CONTROL_PONG, tlv->token);
		return;
	case SESSION_CONTROL_PATH_CHALLENGE:
		if (session_control_put_token(
			    &reply->out, SESSION_CONTROL_PATH_RESPONSE, tlv->token))
			reply->to_source = true;
		return;
	case SESSION_CONTROL_PATH_RESPONSE:
		if (reply->answers_count < SESSION_CONTROL_TLVS_MAX)
			memcpy(reply->answers[reply->answers_count++], tlv->token,
				sizeof(tlv->token));
		return;
	case SESSION_CONTROL_MTU_PROBE:
		if (reply->plain && tlv->mtu_bytes == reply->datagram_bytes)
			(void)session_control_put_mtu(
				&reply->out, SESSION_CONTROL_MTU_ACK, tlv->mtu_bytes, tlv->mtu_id);
		return;
	case SESSION_CONTROL_MTU_ACK:
		path_mtu_acked_probe(&peer->data.mtu, probe, now);
		return;
	case SESSION_CONTROL_CLOSE:
		/* It is said on shard 0. */
		reply->closed = !native_is_follower(peer->native);
		return;
	case SESSION_CONTROL_PONG: /* mostly, that something authentic came is all it means */
		native_ping_answered(peer, tlv->token, now);
		return;
	case SESSION_CONTROL_PADDING:
	case SESSION_CONTROL_OPTIONAL:
		return;
	}
}

void native_control_act(void *ctx, const uint8_t *body, size_t len, uint64_t pn)
{
	struct kcpvpn_peer *peer = ctx;
	struct wire in = wire_of(body, len);
	struct session_control_tlv tlv;

	(void)pn;
	while (session_control_next(&in, &tlv))
		act_on(peer, &peer->native->data.reply, &tlv, peer->native->now);
}

void native_reply_send(struct kcpvpn_peer *peer, struct native_reply *reply, struct mono now)
{
	for (size_t i = 0; i < reply->answers_count; i++)
		native_path_answered(peer, &reply->from, reply->answers[i], now);
	const struct native_control_out out = {
		.to = reply->to_source ? &reply->from : &peer->data.address,
		.extra = KCP_PATH_EXTRA_ASKS,
		.most_bytes = reply->datagram_bytes,
	};

	if (reply->out.len == 0 || control_datagram_bytes(reply->out.len) > reply->datagram_bytes)
		return;
	(void)native_output_control(peer, &out, reply->bytes, reply->out.len, now);
}

void native_control_ping(struct kcpvpn_peer *peer, struct mono now)
{
	uint8_t body[SESSION_CONTROL_HEAD_BYTES + SESSION_CONTROL_TOKEN_BYTES];
	uint8_t token[SESSION_CONTROL_TOKEN_BYTES];
	struct session_control_builder builder = session_control_build(body, sizeof(body));
	struct native_control_out out = {
		.to = &peer->data.address,
		.extra = KCP_PATH_EXTRA_ASKS,
		.most_bytes = path_mtu_size(&peer->data.mtu),
		.waits = true,
	};

	rand_fill(&peer->native->random, token, sizeof(token));
	(void)session_control_put_token(&builder, SESSION_CONTROL_PING, token);
	(void)native_output_control(peer, &out, body, builder.len, now);
	native_peer_touch(peer);
}

static enum session_control_close close_on_wire(enum kcpvpn_close reason)
{
	switch (reason) {
	case KCPVPN_CLOSE_RESTART:
		return SESSION_CONTROL_CLOSE_RESTART;
	case KCPVPN_CLOSE_REMOVED:
		return SESSION_CONTROL_CLOSE_REMOVED;
	case KCPVPN_CLOSE_SHUTDOWN:
		break;
	}
	return SESSION_CONTROL_CLOSE_SHUTDOWN;
}

void native_data_close(struct kcpvpn_peer *peer, enum kcpvpn_close reason, struct mono now)
{
	uint8_t body[SESSION_CONTROL_HEAD_BYTES + SESSION_CONTROL_CLOSE_BYTES];
	struct session_control_builder builder = session_control_build(body, sizeof(body));
	struct native_control_out out = {
		.to = &peer->data.address,
		.extra = KCP_PATH_EXTRA_QUIET,
		.most_bytes = path_mtu_size(&peer->data.mtu),
	};

	(void)session_control_put_close(&builder, close_on_wire(reason));
	for (int i = 0; i < CLOSE_DATAGRAMS; i++)
		(void)native_output_control(peer, &out, body, builder.len, now);
}
