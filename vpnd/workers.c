/*
 * Standing still. The main thread raises `stop` and rings all bells; a worker that sees it at the end of a round counts itself
 * among the parked and waits until the flag is down. Whoever has not woken up yet when the flag is raised again stays among
 * them, so it cannot be missed. While all are parked their structures are the main thread's: the mutex orders what both do.
 * What was under way to them is read first, so that no message speaks of what is changed now.
 *
 * A message that does not fit its ring is given to the follower directly, while it stands still: behind all before it. What
 * workers tell is different: it may wait, so nothing ever waits for the main thread.
 */
#include "vpnd/workers.h"

#include "config/config.h"
#include "core/rand.h"
#include "vpnd/cpu_quota.h"
#include "vpnd/fault.h"
#include "vpnd/peer.h"
#include "vpnd/worker.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

enum {
	CORES_SMALL =
		2, /* a host with no more has enough to do with one worker: see workers_wanted() */
};

/*
 * On two cores a second worker finds none of its own: kernel, local programs and, in a test, the other end want them, too.
 * Measured there, both ends on one host: a single flow goes no faster by it, four go a third faster at the others' cost.
 */
unsigned workers_wanted(int queues)
{
	cpu_set_t cores;

	if (queues != CONFIG_AUTO)
		return (unsigned)queues;
	CPU_ZERO(&cores);
	if (sched_getaffinity(0, sizeof(cores), &cores) < 0)
		return 1;
	int count = CPU_COUNT(&cores);
	unsigned quota = cpu_quota_cores(CPU_QUOTA_PROC, CPU_QUOTA_MOUNT);
	if (quota > 0 && quota < (unsigned)count)
		count = (int)quota;
	if (count <= CORES_SMALL)
		return 1;
	return count < KCPVPN_SHARDS_MAX ? (unsigned)count : KCPVPN_SHARDS_MAX;
}

/* ---- standing still -------------------------------------------------------------------------------------------------------- */

bool workers_park(struct workers *set)
{
	pthread_mutex_lock(&set->lock);
	set->parked++;
	pthread_cond_broadcast(&set->changed);
	while (atomic_load(&set->stop))
		pthread_cond_wait(&set->changed, &set->lock);
	set->parked--;
	pthread_mutex_unlock(&set->lock);
	return !atomic_load(&set->ended);
}

bool workers_park_next(struct workers *set)
{
	pthread_mutex_lock(&set->lock);
	while (!atomic_load(&set->stop) && !atomic_load(&set->ended))
		pthread_cond_wait(&set->changed, &set->lock);
	pthread_mutex_unlock(&set->lock);
	return workers_park(set);
}

void workers_stop(struct workers *set)
{
	if (!set || set->depth++ > 0)
		return;
	if (set->started) {
		atomic_store(&set->stop, true);
		for (unsigned i = 0; i < set->count; i++)
			bell_ring(&set->items[i].bell);
		pthread_mutex_lock(&set->lock);
		pthread_cond_broadcast(&set->changed); /* for who can wait for nothing else */
		while (set->parked < set->count)
			pthread_cond_wait(&set->changed, &set->lock);
		pthread_mutex_unlock(&set->lock);
	}
	for (unsigned i = 0; i < set->count; i++)
		worker_hear(&set->items[i], loop_clock());
}

void workers_go(struct workers *set)
{
	if (!set || --set->depth > 0 || !set->started)
		return;
	/* What was changed may have to leave, or have deadlines. */
	for (unsigned i = 0; i < set->count; i++)
		bell_ring(&set->items[i].bell);
	pthread_mutex_lock(&set->lock);
	atomic_store(&set->stop, false);
	pthread_cond_broadcast(&set->changed);
	pthread_mutex_unlock(&set->lock);
}

/* ---- between the threads ----------------------------------------------------------------------------------------------------- */

void workers_tell(struct workers *set, unsigned shard, const struct kcpvpn_shard_message *message)
{
	struct worker *worker;

	if (!set || shard == 0 || shard > set->count)
		return;
	worker = &set->items[shard - 1];
	if (!message_ring_put(&worker->down, message)) {
		workers_stop(set);
		/* Also if all stood still already and the ring filled up since: what is in it was told before. */
		worker_hear(worker, loop_clock());
		if (worker->native)
			kcpvpn_native_hear(worker->native, message, loop_clock().us);
		workers_go(set);
		return;
	}
	bell_ring(&worker->bell);
}

static void hear_messages(struct workers *set, struct worker *worker)
{
	struct kcpvpn_shard_message message;

	while (message_ring_take(&worker->up, &message)) {
		if (set->leader.native)
			kcpvpn_native_hear(set->leader.native, &message, loop_now(set->loop).us);
		explicit_bzero(&message, sizeof(message));
	}
}

static void take_packets(struct workers *set, struct worker *worker)
{
	struct packet_ring *ring = &worker->packets[0];
	const void *packet;
	uint64_t peer;
	size_t len;

	while ((packet = packet_ring_look(ring, &peer, &len)) != NULL) {
		if (set->leader.native)
			set->leader.packet(set->leader.ctx, peer, packet, len);
		packet_ring_release(ring);
	}
}

void workers_on_failure(struct workers *set, void (*on_failure)(void *ctx), void *ctx)
{
	if (!set)
		return;
	set->on_failure = on_failure;
	set->failure_ctx = ctx;
}

void workers_wake(struct workers *set, uint32_t to)
{
	for (unsigned thread = 0; to >> thread > 0; thread++)
		if (to >> thread & 1)
			bell_ring(thread > 0 ? &set->items[thread - 1].bell : &set->bell);
}

size_t workers_sort(
	struct workers *set, uint64_t number, const struct kcpvpn_datagram **batch, size_t count)
{
	uint32_t to;

	if (!set)
		return count;
	count = handover_sort(&set->side, number, batch, count, &to);
	workers_wake(set, to);
	return count;
}

/* Datagrams that came to the sockets of workers. */
static void take_datagrams(struct workers *set, unsigned from)
{
	const struct kcpvpn_datagram *batch;
	uint64_t number;
	size_t count;

	for (int i = 0; i < WORKER_TAKES; i++) {
		count = handover_take(&set->side, from, &number, &batch);
		if (count == 0)
			return;
		if (!set->leader.native ||
			!set->leader.datagrams(set->leader.ctx, number, batch, count))
			set->side.gone += count;
		handover_release(&set->side, from);
	}
	bell_ring(&set->bell);
}

static void on_bell(struct loop_watch *watch, uint32_t events)
{
	struct workers *set = list_entry(watch, struct workers, bell_watch);

	(void)events;
	bell_answer(&set->bell);
	if (atomic_load(&set->failed) && set->on_failure)
		set->on_failure(set->failure_ctx);
	for (unsigned i = 0; i < set->count; i++) {
		hear_messages(set, &set->items[i]);
		take_packets(set, &set->items[i]);
		take_datagrams(set, i + 1);
	}
}

/* ---- beginning and end ------------------------------------------------------------------------------------------------------- */

int workers_new(struct loop *loop, struct tun *queues, unsigned count, uint16_t mtu_bytes,
	struct workers **ret_workers, struct fault *fault)
{
	struct workers *set = calloc(1, sizeof(*set));
	int error = set ? 0 : -ENOMEM;

	assert(count > 0 && count < KCPVPN_SHARDS_MAX);
	if (error < 0)
		return fault_set(fault, error, "E-VPND-2", NULL, "out of memory");
	set->loop = loop;
	set->bell.fd = -1;
	pthread_mutex_init(&set->lock, NULL);
	pthread_cond_init(&set->changed, NULL);
	error = handover_new(count + 1, &set->handover);
	handover_side_init(&set->side, set->handover, 0);
	set->items = aligned_alloc(SHARD_RING_ALIGN_BYTES, count * sizeof(struct worker));
	if (!set->items)
		error = -ENOMEM;
	while (error == 0 && set->count < count) {
		error = worker_init(&set->items[set->count], set, set->count + 1,
			&queues[set->count], mtu_bytes);
		set->count++;
	}
	if (error == 0)
		error = bell_init(&set->bell);
	set->bell_watch = (struct loop_watch){.fd = set->bell.fd, .on_event = on_bell};
	if (error == 0)
		error = loop_watch_add(loop, &set->bell_watch, EPOLLIN);
	if (error < 0) {
		workers_free(set);
		return fault_set(fault, error, "E-VPND-1", NULL, "cannot prepare workers: %s",
			strerror(-error));
	}
	*ret_workers = set;
	return 0;
}

static void end_threads(struct workers *set)
{
	pthread_mutex_lock(&set->lock);
	atomic_store(&set->ended, true);
	atomic_store(&set->stop, false);
	pthread_cond_broadcast(&set->changed);
	pthread_mutex_unlock(&set->lock);
	/* Those that run; not all may, if starting failed. */
	for (unsigned i = 0; i < set->count; i++)
		if (set->items[i].running)
			bell_ring(&set->items[i].bell);
	for (unsigned i = 0; i < set->count; i++)
		if (set->items[i].running)
			pthread_join(set->items[i].thread, NULL);
	for (unsigned i = 0; i < set->count; i++)
		set->items[i].running = false;
	set->started = false;
}

int workers_start(struct workers *set, struct fault *fault)
{
	if (!set)
		return 0;
	for (unsigned i = 0; i < set->count; i++) {
		int error = pthread_create(&set->items[i].thread, NULL, worker_run, &set->items[i]);
		if (error) {
			/* What comes next takes all of them for standing still. */
			end_threads(set);
			return fault_set(fault, -error, "E-VPND-1", NULL,
				"cannot start a thread: %s", strerror(error));
		}
		set->items[i].running = true;
	}
	set->started = true;
	return 0;
}

void workers_free(struct workers *set)
{
	if (!set)
		return;
	end_threads(set);
	workers_detach(set);
	for (unsigned i = 0; i < set->count; i++)
		worker_fini(&set->items[i]);
	loop_watch_remove(set->loop, &set->bell_watch);
	bell_fini(&set->bell);
	handover_free(set->handover);
	pthread_cond_destroy(&set->changed);
	pthread_mutex_destroy(&set->lock);
	free(set->items);
	free(set);
}

unsigned workers_count(const struct workers *set)
{
	return set ? set->count : 0;
}

void workers_set_mtu(struct workers *set, uint16_t mtu_bytes)
{
	for (unsigned i = 0; i < workers_count(set); i++)
		packet_path_set_mtu(&set->items[i].path, mtu_bytes);
}

/* ---- the wire ---------------------------------------------------------------------------------------------------------------- */

static int attach(struct worker *worker, const struct kcpvpn_native_config *like, int64_t now_us)
{
	struct kcpvpn_native_config config = *like;

	config.tell = worker_tell;
	config.ctx = worker;
	worker->batch = udp_batch_new(config.datagram_max_bytes);
	if (!worker->batch)
		return -ENOMEM;
	udp_batch_set_runs(worker->batch, true);
	int error = kcpvpn_native_new_follower(&config, worker->shard, now_us, &worker->native);
	if (error == 0)
		error = tun_set_attached(&worker->tun, true);
	if (error == 0)
		error = loop_watch_add(worker->loop, &worker->tun_watch, EPOLLIN);
	return error;
}

static void detach(struct worker *worker)
{
	struct kcpvpn_shard_message message;

	loop_watch_remove(worker->loop, &worker->tun_watch);
	if (worker->tun.fd >= 0)
		(void)tun_set_attached(&worker->tun, false);
	kcpvpn_native_free(worker->native);
	worker->native = NULL;
	worker->refused_count = 0;
	loop_timer_disarm(worker->loop, &worker->timer);
	udp_batch_free(worker->batch);
	worker->batch = NULL;
	while (message_ring_take(&worker->down, &message) ||
		message_ring_take(&worker->up, &message))
		;
	explicit_bzero(&message, sizeof(message));
	for (unsigned to = 0; to < worker->shard; to++)
		packet_ring_clear(&worker->packets[to]);
}

int workers_attach(struct workers *set, const struct workers_leader *leader,
	const struct kcpvpn_native_config *config, int64_t now_us)
{
	int error = 0;

	for (unsigned i = 0; error == 0 && i < workers_count(set); i++) {
		set->items[i].wire.takes = leader->takes;
		error = attach(&set->items[i], config, now_us);
	}
	if (error < 0)
		workers_detach(set);
	else if (set)
		set->leader = *leader;
	return error;
}

void workers_detach(struct workers *set)
{
	for (unsigned i = 0; i < workers_count(set); i++)
		detach(&set->items[i]);
	if (!set)
		return;
	handover_clear(set->handover);
	set->leader = (struct workers_leader){0};
}

void workers_set_runs(struct workers *set, bool runs)
{
	for (unsigned i = 0; i < workers_count(set); i++)
		if (set->items[i].batch)
			udp_batch_set_runs(set->items[i].batch, runs);
}

static void close_socket(struct worker_socket *socket)
{
	struct worker *worker = socket->worker;

	if (!worker || socket->udp.fd < 0)
		return;
	kcpvpn_native_close_port(worker->native, &socket->udp.kcpvpn, loop_clock().us);
	loop_watch_remove(worker->loop, &socket->watch);
	list_remove(&socket->in_worker);
	udp_socket_close(&socket->udp);
}

static int open_socket(struct worker *worker, const struct udp_socket_options *like,
	uint64_t number, struct worker_socket *socket, struct fault *fault)
{
	struct udp_socket_options options = *like;

	options.joins = true;
	options.on_too_big = worker_on_too_big;
	options.ctx = worker;
	socket->worker = worker;
	socket->number = number;
	int error = udp_socket_open(&socket->udp, &options, worker->batch, fault);
	if (error < 0)
		return error;
	socket->watch = (struct loop_watch){.fd = socket->udp.fd, .on_event = worker_on_socket};
	error = loop_watch_add(worker->loop, &socket->watch, EPOLLIN);
	if (error == 0)
		error = kcpvpn_native_name_port(worker->native, &socket->udp.kcpvpn, number);
	if (error < 0)
		return fault_set(fault, error, "E-WIRE-2", NULL, "cannot use a worker's socket: %s",
			strerror(-error));
	list_add_tail(&worker->sockets, &socket->in_worker);
	return 0;
}

int workers_open_sockets(struct workers *set, const struct udp_socket_options *options,
	uint64_t number, struct worker_socket **ret_sockets, struct fault *fault)
{
	unsigned count = workers_count(set);
	struct worker_socket *sockets = calloc(count + 1, sizeof(*sockets));
	int error = 0;

	if (!sockets)
		return fault_set(fault, -ENOMEM, "E-WIRE-2", NULL, "out of memory");
	for (unsigned i = 0; i < count; i++) {
		sockets[i].udp.fd = -1;
		list_init(&sockets[i].in_worker);
	}
	for (unsigned i = 0; error == 0 && i < count; i++)
		error = open_socket(&set->items[i], options, number, &sockets[i], fault);
	if (error < 0) {
		workers_close_sockets(set, sockets);
		return error;
	}
	*ret_sockets = sockets;
	return 0;
}

void workers_close_sockets(struct workers *set, struct worker_socket *sockets)
{
	for (unsigned i = 0; sockets && i < workers_count(set); i++)
		close_socket(&sockets[i]);
	free(sockets);
}

/* ---- peers ------------------------------------------------------------------------------------------------------------------- */

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	if (getrandom(buf, len, 0) != (ssize_t)len) /* at most 256 bytes: never short */
		abort();
}

int workers_peer_add(struct workers *set, struct peer *peer)
{
	struct rand_source rnd = {fill_random, NULL};
	struct peer *last = peer;

	for (unsigned i = 0; i < workers_count(set); i++) {
		struct peer *mirror = peer_new(peer->config, &rnd);
		if (!mirror)
			return -ENOMEM;
		list_add_tail(&set->items[i].peers, &mirror->in_daemon);
		last->mirror = mirror;
		last = mirror;
	}
	return 0;
}

void workers_peer_remove(struct workers *set, struct peer *peer)
{
	struct peer *mirror = peer->mirror;

	for (unsigned i = 0; mirror && i < workers_count(set); i++) {
		struct peer *next = mirror->mirror;
		packet_path_flush(&set->items[i].path);
		peer_free(mirror);
		mirror = next;
	}
	peer->mirror = NULL;
}

int workers_peer_own(struct workers *set, struct peer *peer)
{
	const struct config_cidrs *list = &peer->config->allowed_ips;
	struct peer *mirror = peer->mirror;
	int error = 0;

	for (unsigned i = 0; mirror && i < workers_count(set); i++, mirror = mirror->mirror)
		for (size_t k = 0; error == 0 && k < list->count; k++)
			error = allowed_ips_insert(
				&set->items[i].path.owners, &list->items[k], mirror);
	return error;
}

void workers_peer_disown(struct workers *set, struct peer *peer)
{
	const struct config_cidrs *list = &peer->config->allowed_ips;
	struct peer *mirror = peer->mirror;

	for (unsigned i = 0; mirror && i < workers_count(set); i++, mirror = mirror->mirror)
		for (size_t k = 0; k < list->count; k++)
			(void)allowed_ips_remove(
				&set->items[i].path.owners, &list->items[k], mirror);
}

void workers_peer_copy(struct workers *set, struct peer *peer)
{
	(void)set;
	for (struct peer *mirror = peer->mirror; mirror; mirror = mirror->mirror) {
		if (mirror->config != peer->config)
			peer_set_config(mirror, peer->config);
		mirror->ordered_down = peer->ordered_down;
		mirror->path_mtu_bytes = peer->path_mtu_bytes;
		mirror->most_bytes = peer->most_bytes;
		mirror->super_bytes_max = peer->super_bytes_max;
	}
}

void workers_peer_clear(struct workers *set, struct peer *peer)
{
	(void)set;
	for (struct peer *mirror = peer->mirror; mirror; mirror = mirror->mirror) {
		ingress_clear(&mirror->queue);
		list_remove(&mirror->in_pump);
	}
}

int workers_peer_start(struct workers *set, struct peer *peer, uint64_t id,
	const struct kcpvpn_peer_config *config, int64_t now_us)
{
	struct peer *mirror = peer->mirror;
	int error = 0;

	for (unsigned i = 0; error == 0 && mirror && i < workers_count(set);
		i++, mirror = mirror->mirror) {
		struct kcpvpn_peer *handle;
		error = kcpvpn_native_follow_peer(
			set->items[i].native, id, config, now_us, &handle);
		if (error < 0)
			break;
		kcpvpn_peer_set_user(handle, mirror);
		mirror->wire = handle;
	}
	if (error < 0)
		workers_peer_end(set, peer);
	return error;
}

void workers_peer_end(struct workers *set, struct peer *peer)
{
	struct peer *mirror = peer->mirror;

	for (unsigned i = 0; mirror && i < workers_count(set); i++, mirror = mirror->mirror) {
		packet_path_flush(&set->items[i].path);
		if (mirror->wire)
			kcpvpn_native_remove_peer(set->items[i].native, mirror->wire);
		mirror->wire = NULL;
	}
}

int workers_peer_configure(struct workers *set, struct peer *peer,
	const struct kcpvpn_peer_config *config, int64_t now_us)
{
	int error = 0;

	(void)set;
	for (struct peer *mirror = peer->mirror; mirror && error == 0; mirror = mirror->mirror)
		if (mirror->wire)
			error = kcpvpn_peer_configure(mirror->wire, config, now_us);
	return error;
}

/* ---- to be seen -------------------------------------------------------------------------------------------------------------- */

const struct packet_path *workers_path(const struct workers *set, unsigned index)
{
	return &set->items[index].path;
}

const struct kcpvpn_native *workers_native(const struct workers *set, unsigned index)
{
	return set->items[index].native;
}

bool workers_locked(const struct workers *set)
{
	for (unsigned i = 0; i < workers_count(set); i++)
		if (!set->items[i].down.locked || !set->items[i].up.locked)
			return false;
	return true;
}

const struct tun_counters *workers_tun(const struct workers *set, unsigned index)
{
	return &set->items[index].tun.counters;
}

uint64_t workers_handed_on(const struct workers *set, unsigned index)
{
	return set->items[index].handed_on;
}

const struct handover_side *workers_handover(const struct workers *set, unsigned thread)
{
	return thread > 0 ? &set->items[thread - 1].handover : &set->side;
}
