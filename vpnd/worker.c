/*
 * A round of a worker is one of the main thread's without its duties: sockets and the device hand in what came, the library
 * tells what it has for whom, the packet path goes on with what waits, and everything leaves. Afterwards it looks whether it
 * is to stand still.
 *
 * Messages of the leader are read before datagrams are opened, each time: the datagram may be the first of a session that the
 * message explains. That is enough, since the leader tells its followers before it says anything to the peer.
 *
 * A peer whose sessions have fewer shards than there are workers is sent to by others: what comes out of the device here for it
 * is handed to worker `shard mod count`, whole, and takes its place in the queue there. It happens to the first packets of
 * flows only: the device sends those of a flow to the queue that the last packet of it came out of, the other way round.
 *
 * A worker writes no log: it has nothing to say that the main thread does not see.
 */
#include "vpnd/worker.h"

#include "core/log.h"
#include "vpnd/peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/uio.h>

enum {
	RECEIVES_PER_EVENT = 4,
	TURNS_PER_ROUND = 16,
	MESSAGE_PIECES = 128,
	/* What is handed on is cut as for a path of this rate; where it leaves it is cut as its path asks. */
	HANDED_RATE_BPS = 200000000,
	HANDED_SRTT_US = 1000,
};

static struct worker *of(const struct wire *wire)
{
	return (struct worker *)(uintptr_t)wire;
}

static int64_t now_us(const struct worker *worker)
{
	return loop_now(worker->loop).us;
}

/* ---- messages ---------------------------------------------------------------------------------------------------------- */

void worker_hear(struct worker *worker, struct mono now)
{
	struct kcpvpn_shard_message message;

	while (message_ring_take(&worker->down, &message)) {
		if (worker->native)
			kcpvpn_native_hear(worker->native, &message, now.us);
		explicit_bzero(&message, sizeof(message));
	}
}

bool worker_tell(void *ctx, unsigned shard, const struct kcpvpn_shard_message *message)
{
	struct worker *worker = ctx;

	(void)shard;
	worker->bells |= 1;
	return message_ring_put(&worker->up, message);
}

/* ---- the packet path's side ---------------------------------------------------------------------------------------------- */

static enum wire_peer_state peer_state(const struct wire *wire, const struct peer *peer)
{
	(void)wire;
	if (!peer->wire)
		return WIRE_PEER_DOWN;
	if (kcpvpn_peer_beyond(peer->wire) > 0)
		return WIRE_PEER_UP;
	switch (kcpvpn_peer_state(peer->wire)) {
	case KCPVPN_PEER_DOWN:
		return WIRE_PEER_DOWN;
	case KCPVPN_PEER_IDLE:
		return WIRE_PEER_IDLE;
	case KCPVPN_PEER_CONNECTING:
		return WIRE_PEER_CONNECTING;
	case KCPVPN_PEER_UP:
		break;
	}
	return WIRE_PEER_UP;
}

static bool ready(struct wire *wire, struct peer *peer)
{
	struct worker *worker = of(wire);
	unsigned beyond = peer->wire ? kcpvpn_peer_beyond(peer->wire) : 0;

	if (!peer->wire)
		return false;
	if (beyond > 0) {
		if (packet_ring_room(
			    &worker->packets[worker->shard % beyond], PACKET_PATH_MESSAGE_BYTES))
			return true;
		loop_timer_arm(worker->loop, &worker->retry,
			mono_add_us(loop_now(worker->loop), WORKER_RETRY_US));
		return false;
	}
	if (kcpvpn_peer_room(peer->wire, peer->message_bytes))
		return true;
	if (kcpvpn_peer_state(peer->wire) != KCPVPN_PEER_UP)
		kcpvpn_peer_want(peer->wire, now_us(worker));
	return false;
}

static int send_packet(struct wire *wire, struct peer *peer, const void *packet, size_t len)
{
	struct worker *worker = of(wire);
	unsigned beyond = peer->wire ? kcpvpn_peer_beyond(peer->wire) : 0;

	if (!peer->wire)
		return -ENOTCONN;
	if (beyond == 0)
		return kcpvpn_peer_send(peer->wire, packet, len, now_us(worker));
	unsigned to = worker->shard % beyond;
	if (!packet_ring_put(&worker->packets[to], kcpvpn_peer_id(peer->wire), packet, len))
		return -ENOBUFS;
	worker->bells |= UINT32_C(1) << to;
	worker->handed_on++;
	return 0;
}

static int lend_packet(struct wire *wire, struct peer *peer, struct ingress_packet *packet)
{
	struct worker *worker = of(wire);

	if (peer->wire && kcpvpn_peer_beyond(peer->wire) == 0)
		return kcpvpn_peer_lend(
			peer->wire, packet->data, packet->len, packet, now_us(worker));
	int error = send_packet(wire, peer, packet->data, packet->len);
	if (error == 0)
		ingress_packet_return(packet);
	return error;
}

static bool path_of(const struct wire *wire, const struct peer *peer, struct ingress_path *ret_path)
{
	struct kcpvpn_peer_status status;

	(void)wire;
	if (peer->wire && kcpvpn_peer_beyond(peer->wire) > 0) {
		*ret_path = (struct ingress_path){
			.srtt_us = HANDED_SRTT_US, .rate_bps = HANDED_RATE_BPS};
		return true;
	}
	if (!peer->wire || kcpvpn_peer_state(peer->wire) != KCPVPN_PEER_UP)
		return false;
	kcpvpn_peer_status(peer->wire, &status);
	*ret_path = (struct ingress_path){
		status.srtt_us, status.rate_bps, status.loss_raw_out, status.contested};
	return status.srtt_us >= 0;
}

static const struct wire_ops OPS = {
	.peer_state = peer_state,
	.ready = ready,
	.send = send_packet,
	.lend = lend_packet,
	.path = path_of,
};

/* ---- what comes ---------------------------------------------------------------------------------------------------------- */

void worker_on_socket(struct loop_watch *watch, uint32_t events)
{
	struct worker_socket *socket = list_entry(watch, struct worker_socket, watch);
	struct worker *worker = socket->worker;
	const struct kcpvpn_datagram *batch;
	uint32_t to;

	(void)events;
	for (int i = 0; i < RECEIVES_PER_EVENT || udp_socket_pending(&socket->udp); i++) {
		size_t count = udp_socket_receive(&socket->udp, &batch);
		count = handover_sort(&worker->handover, socket->number, &batch, count, &to);
		workers_wake(worker->set, to);
		worker_hear(worker, loop_now(worker->loop));
		if (count > 0)
			kcpvpn_native_input(
				worker->native, &socket->udp.kcpvpn, batch, count, now_us(worker));
		if (!udp_socket_more(&socket->udp))
			return;
	}
	loop_behind(worker->loop);
}

void worker_on_too_big(void *ctx, const struct kcpvpn_datagram *datagram)
{
	struct worker *worker = ctx;

	if (worker->refused_count < WORKER_REFUSED_MAX)
		worker->refused[worker->refused_count++] =
			(struct worker_refused){datagram->remote, datagram->len};
}

static void on_tun(struct loop_watch *watch, uint32_t events)
{
	struct worker *worker = list_entry(watch, struct worker, tun_watch);

	(void)events;
	/* The main thread sees that, too, and ends. */
	if (packet_path_read_tun(&worker->path, loop_now(worker->loop)) == -ENODEV)
		loop_watch_remove(worker->loop, &worker->tun_watch);
}

static void take_packets(struct worker *worker)
{
	struct workers *set = worker->set;

	for (unsigned i = worker->shard; i < set->count; i++) {
		struct packet_ring *ring = &set->items[i].packets[worker->shard];
		const void *packet;
		uint64_t id;
		size_t len;
		while ((packet = packet_ring_look(ring, &id, &len)) != NULL) {
			struct kcpvpn_peer *handle =
				worker->native ? kcpvpn_native_peer(worker->native, id) : NULL;
			struct peer *peer = handle ? kcpvpn_peer_user(handle) : NULL;
			if (peer)
				packet_path_put(
					&worker->path, peer, packet, len, loop_now(worker->loop));
			packet_ring_release(ring);
		}
	}
}

static struct worker_socket *socket_of(const struct worker *worker, uint64_t number)
{
	list_for_each (at, &worker->sockets) {
		struct worker_socket *socket = list_entry(at, struct worker_socket, in_worker);
		if (socket->number == number)
			return socket;
	}
	return NULL;
}

/* Datagrams that came to others' sockets. */
static void take_datagrams(struct worker *worker, unsigned from)
{
	struct handover_side *side = &worker->handover;
	const struct kcpvpn_datagram *batch;
	uint64_t number;
	size_t count;

	for (int i = 0; i < WORKER_TAKES; i++) {
		count = handover_take(side, from, &number, &batch);
		if (count == 0)
			return;
		struct worker_socket *socket = socket_of(worker, number);
		worker_hear(worker, loop_now(worker->loop));
		if (socket)
			kcpvpn_native_input(
				worker->native, &socket->udp.kcpvpn, batch, count, now_us(worker));
		else
			side->gone += count;
		handover_release(side, from);
	}
	bell_ring(&worker->bell);
}

static void on_bell(struct loop_watch *watch, uint32_t events)
{
	struct worker *worker = list_entry(watch, struct worker, bell_watch);

	(void)events;
	bell_answer(&worker->bell);
	worker_hear(worker, loop_now(worker->loop));
	take_packets(worker);
	for (unsigned from = 0; from <= worker->set->count; from++)
		if (from != worker->shard)
			take_datagrams(worker, from);
}

/* ---- rounds -------------------------------------------------------------------------------------------------------------- */

static void handle_events(struct worker *worker, struct kcpvpn_peer *handle, unsigned events)
{
	struct peer *peer = kcpvpn_peer_user(handle);
	struct iovec pieces[MESSAGE_PIECES];
	size_t len;
	int count;

	if (!peer)
		return;
	while (events & KCPVPN_PEER_EVENT_READABLE &&
		(count = kcpvpn_peer_recv_peek(handle, pieces, MESSAGE_PIECES, &len)) > 0) {
		packet_path_received(&worker->path, peer, pieces, count, len);
		kcpvpn_peer_recv_drop(handle, now_us(worker));
	}
	if (events & (KCPVPN_PEER_EVENT_WRITABLE | KCPVPN_PEER_EVENT_STATE))
		packet_path_writable(&worker->path, peer);
}

static bool turn(struct worker *worker, struct mono now)
{
	struct kcpvpn_peer *handle;
	unsigned events;
	bool any = worker->refused_count > 0;

	for (size_t i = 0; i < worker->refused_count; i++)
		kcpvpn_native_too_big(
			worker->native, &worker->refused[i].remote, worker->refused[i].len, now.us);
	worker->refused_count = 0;
	kcpvpn_native_on_deadline(worker->native, now.us);
	while ((handle = kcpvpn_native_next_event(worker->native, &events)) != NULL) {
		any = true;
		handle_events(worker, handle, events);
	}
	return any;
}

static void ring_bells(struct worker *worker)
{
	workers_wake(worker->set, worker->bells);
	worker->bells = 0;
}

static void after_round(void *ctx, struct mono now)
{
	struct worker *worker = ctx;

	for (int i = 0; worker->native && i < TURNS_PER_ROUND; i++) {
		bool any = turn(worker, now);
		packet_path_flush(&worker->path);
		packet_path_pump(&worker->path, now);
		kcpvpn_native_flush(worker->native, now.us);
		if (!any)
			break;
	}
	if (worker->native)
		loop_timer_arm(worker->loop, &worker->timer,
			worker->refused_count > 0
				? now
				: mono_at_us(kcpvpn_native_next_deadline(worker->native)));
	if (!worker->resting && (worker->path.packets.slots_allocated > 0 ||
					worker->path.long_packets.slots_allocated > 0)) {
		worker->resting = true;
		loop_timer_arm(worker->loop, &worker->rest, mono_add_us(now, WORKER_REST_US));
	}
	ring_bells(worker);
	loop_rest_until(worker->loop,
		wake_pace_next(&worker->path.pace, loop_next_timer(worker->loop), now));
	if ((atomic_load(&worker->set->stop) || atomic_load(&worker->set->ended)) &&
		!workers_park(worker->set))
		loop_stop(worker->loop);
}

/* The deadline itself is served after the round. */
static void on_deadline(struct loop_timer *timer, struct mono now)
{
	(void)timer;
	(void)now;
}

static void on_rest(struct loop_timer *timer, struct mono now)
{
	struct worker *worker = list_entry(timer, struct worker, rest);

	worker->resting = false;
	list_for_each (at, &worker->peers)
		packet_path_rest(&worker->path, list_entry(at, struct peer, in_daemon), now);
	packet_path_trim(&worker->path);
}

static void on_retry(struct loop_timer *timer, struct mono now)
{
	struct worker *worker = list_entry(timer, struct worker, retry);

	(void)now;
	list_for_each (at, &worker->path.waiting)
		packet_path_writable(&worker->path, list_entry(at, struct peer, in_waiting));
}

void *worker_run(void *ctx)
{
	struct worker *worker = ctx;
	char name[16];

	(void)snprintf(name, sizeof(name), "vpnd/%u", worker->shard);
	(void)prctl(PR_SET_NAME, name);
	/* What was told before the thread began rang a bell for nobody, or will be seen at once. */
	bell_ring(&worker->bell);
	if (loop_run(worker->loop) < 0) {
		/* It cannot wait for events any more: the others must not wait for it, and somebody has to know. */
		atomic_store(&worker->set->failed, true);
		bell_ring(&worker->set->bell);
		while (workers_park_next(worker->set))
			;
	}
	return NULL;
}

/* ---- beginning and end --------------------------------------------------------------------------------------------------- */

static int open_rings(struct worker *worker)
{
	int error = message_ring_init(&worker->down);

	if (error == 0)
		error = message_ring_init(&worker->up);
	for (unsigned to = 0; error == 0 && to < worker->shard; to++)
		error = packet_ring_init(&worker->packets[to]);
	return error;
}

int worker_init(struct worker *worker, struct workers *set, unsigned shard, struct tun *queue,
	uint16_t mtu_bytes)
{
	memset(worker, 0, sizeof(*worker));
	worker->set = set;
	worker->shard = shard;
	worker->tun = *queue;
	queue->fd = -1;
	worker->bell.fd = -1;
	list_init(&worker->peers);
	list_init(&worker->sockets);
	handover_side_init(&worker->handover, set->handover, shard);
	loop_timer_init(&worker->timer, on_deadline);
	loop_timer_init(&worker->rest, on_rest);
	loop_timer_init(&worker->retry, on_retry);
	int error = loop_new(&worker->loop);
	if (error < 0)
		return error;
	packet_path_init(&worker->path, &worker->tun, mtu_bytes, loop_now(worker->loop));
	worker->wire.ops = &OPS;
	worker->wire.mtu_bytes = mtu_bytes;
	worker->path.wire = &worker->wire;
	error = open_rings(worker);
	if (error == 0)
		error = bell_init(&worker->bell);
	if (error < 0)
		return error;
	worker->bell_watch = (struct loop_watch){.fd = worker->bell.fd, .on_event = on_bell};
	error = loop_watch_add(worker->loop, &worker->bell_watch, EPOLLIN);
	if (error < 0)
		return error;
	worker->tun_watch = (struct loop_watch){.fd = worker->tun.fd, .on_event = on_tun};
	loop_set_after_round(worker->loop, after_round, worker);
	return 0;
}

void worker_fini(struct worker *worker)
{
	if (worker->loop) {
		loop_watch_remove(worker->loop, &worker->tun_watch);
		loop_watch_remove(worker->loop, &worker->bell_watch);
		packet_path_fini(&worker->path);
	}
	udp_batch_free(worker->batch);
	message_ring_fini(&worker->down);
	message_ring_fini(&worker->up);
	for (unsigned to = 0; to < KCPVPN_SHARDS_MAX; to++)
		packet_ring_fini(&worker->packets[to]);
	bell_fini(&worker->bell);
	tun_close(&worker->tun);
	loop_free(worker->loop);
}
