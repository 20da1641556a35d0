/*
 * What the helper thread and the loop share is `struct desk`: a list of jobs to do, a list of jobs done, an eventfd that
 * wakes the loop, all under one mutex. A job has its own copy of the name, so the thread never touches what belongs to
 * a caller. The desk belongs to both sides and is freed by the last: if a lookup hangs when the resolver is freed, the
 * thread is left to end by itself, finds the desk closed and clears it away.
 *
 * Cancelling cuts the tie between job and query; the answer of a job without a query is dropped. `job->query` is
 * touched on the loop's thread only.
 */
#include "vpnd/resolver.h"

#include "core/list.h"
#include "vpnd/loop.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct resolver_job {
	struct list node;
	struct resolver_query *query; /* NULL = cancelled */
	uint16_t port;
	char host[RESOLVER_NAME_BYTES];
	char reason[96];
	struct resolver_answer answer;
};

struct desk {
	pthread_mutex_t mutex;
	pthread_cond_t more; /* to_do is not empty, or closed */
	struct list to_do;
	struct list done;
	resolver_lookup_fn lookup;
	int event_fd;
	bool closed;
	struct resolver_job *current; /* the thread is looking it up; in no list */
	int holders;		      /* resolver, thread */
};

struct resolver {
	struct loop *loop;
	struct loop_watch watch;
	struct desk *desk;
	bool started;
	pthread_t thread;
	size_t open_jobs;
};

/* ---- text ------------------------------------------------------------------------------------------------------- */

static int parse_port(const char *text, uint16_t *ret_port)
{
	unsigned value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > 65535)
			return -EINVAL;
	}
	*ret_port = (uint16_t)value;
	return 0;
}

/* Cuts "host:port" or "[v6]:port" in two. A host with a colon needs the brackets. */
static int split(const char *text, char host[RESOLVER_NAME_BYTES], uint16_t *ret_port, bool *ret_v6)
{
	size_t len = strlen(text);
	bool v6 = text[0] == '[';
	const char *end = v6 ? strchr(text, ']') : strrchr(text, ':');
	const char *begin = v6 ? text + 1 : text;

	if (len >= RESOLVER_NAME_BYTES || !end || end == begin || (v6 && end[1] != ':'))
		return -EINVAL;
	len = (size_t)(end - begin);
	if (!v6 && memchr(begin, ':', len))
		return -EINVAL;
	memcpy(host, begin, len);
	host[len] = '\0';
	*ret_v6 = v6;
	return parse_port(end + (v6 ? 2 : 1), ret_port);
}

/* "fe80::1%eth0" or "fe80::1%3" */
static int parse_v6(char *host, struct kcpvpn_endpoint *endpoint)
{
	char *scope = strchr(host, '%');
	struct in6_addr address;

	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET6, host, &address) != 1)
		return -EINVAL;
	if (scope) {
		uint16_t number;
		endpoint->scope_id = if_nametoindex(scope);
		if (!endpoint->scope_id && parse_port(scope, &number) == 0)
			endpoint->scope_id = number;
		if (!endpoint->scope_id)
			return -EINVAL;
	}
	if (IN6_IS_ADDR_V4MAPPED(&address)) {
		endpoint->family = 4;
		memcpy(endpoint->address, address.s6_addr + 12, 4);
	} else {
		endpoint->family = 6;
		memcpy(endpoint->address, &address, 16);
	}
	return 0;
}

int resolver_parse_numeric(const char *text, struct kcpvpn_endpoint *ret_endpoint)
{
	struct kcpvpn_endpoint endpoint = {0};
	char host[RESOLVER_NAME_BYTES];
	bool v6;

	if (split(text, host, &endpoint.port, &v6))
		return -EINVAL;
	if (v6) {
		if (parse_v6(host, &endpoint))
			return -EINVAL;
	} else if (inet_pton(AF_INET, host, endpoint.address) == 1) {
		endpoint.family = 4;
	} else {
		return -EINVAL;
	}
	*ret_endpoint = endpoint;
	return 0;
}

/* ---- the helper thread ------------------------------------------------------------------------------------------ */

static void free_jobs(struct list *jobs)
{
	struct list *node;

	while ((node = list_pop(jobs)) != NULL)
		free(list_entry(node, struct resolver_job, node));
}

/* Gives up one side's hold on the desk, whose mutex the caller has locked. */
static void leave_desk(struct desk *desk)
{
	bool last = --desk->holders == 0;

	pthread_mutex_unlock(&desk->mutex);
	if (!last)
		return;
	free_jobs(&desk->to_do);
	free_jobs(&desk->done);
	close(desk->event_fd);
	pthread_cond_destroy(&desk->more);
	pthread_mutex_destroy(&desk->mutex);
	free(desk);
}

static int err_of(int gai_error, int errno_now)
{
	switch (gai_error) {
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return -ENOENT;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return errno_now ? -errno_now : -EIO;
	default:
		return -EIO;
	}
}

static void add_endpoints(
	struct resolver_answer *answer, const struct addrinfo *list, uint16_t port)
{
	for (; list && answer->count < RESOLVER_ENDPOINTS_MAX; list = list->ai_next) {
		struct kcpvpn_endpoint endpoint;
		bool known = false;

		if (kcpvpn_endpoint_from_sockaddr(list->ai_addr, list->ai_addrlen, &endpoint))
			continue;
		endpoint.port = port;
		for (size_t i = 0; i < answer->count; i++)
			known = known || kcpvpn_endpoint_equal(&answer->endpoints[i], &endpoint);
		if (!known)
			answer->endpoints[answer->count++] = endpoint;
	}
}

static void do_job(struct resolver_job *job, resolver_lookup_fn lookup)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_DGRAM,
		.ai_flags = AI_ADDRCONFIG,
	};
	struct addrinfo *list = NULL;

	errno = 0;
	int gai_error = lookup(job->host, NULL, &hints, &list);
	int err = gai_error ? err_of(gai_error, errno) : 0;
	if (gai_error == EAI_SYSTEM) {
		(void)snprintf(job->reason, sizeof(job->reason), "%s", strerror(-err));
	} else if (gai_error) {
		(void)snprintf(job->reason, sizeof(job->reason), "%s", gai_strerror(gai_error));
	} else {
		add_endpoints(&job->answer, list, job->port);
		freeaddrinfo(list);
		if (job->answer.count == 0) {
			err = -ENOENT;
			(void)snprintf(job->reason, sizeof(job->reason), "no IP address");
		}
	}
	job->answer.err = err;
}

static void *run_thread(void *arg)
{
	struct desk *desk = arg;
	uint64_t one = 1;

	/* by the thread itself: another's name is a file that a process without rights may not open */
	(void)pthread_setname_np(pthread_self(), "vpnd-names");
	pthread_mutex_lock(&desk->mutex);
	while (!desk->closed) {
		struct list *node = list_pop(&desk->to_do);
		if (!node) {
			pthread_cond_wait(&desk->more, &desk->mutex);
			continue;
		}
		struct resolver_job *job = list_entry(node, struct resolver_job, node);
		desk->current = job;
		pthread_mutex_unlock(&desk->mutex);
		do_job(job, desk->lookup);
		pthread_mutex_lock(&desk->mutex);
		desk->current = NULL;
		list_add_tail(&desk->done, node);
		if (!desk->closed && write(desk->event_fd, &one, sizeof(one)) < 0) {
			/* EAGAIN: the counter is full, so the loop wakes up anyway. */
		}
	}
	leave_desk(desk);
	return NULL;
}

/* The thread takes no signal: they are the loop's. */
static int start_thread(struct resolver *resolver)
{
	sigset_t all;
	sigset_t before;

	if (resolver->started)
		return 0;
	resolver->desk->holders++; /* no thread yet, no lock needed */
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = -pthread_create(&resolver->thread, NULL, run_thread, resolver->desk);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		resolver->desk->holders--;
		return -EAGAIN;
	}
	resolver->started = true;
	return 0;
}

/* ---- the loop's side -------------------------------------------------------------------------------------------- */

static void deliver(struct resolver *resolver, struct resolver_job *job)
{
	struct resolver_query *query = job->query;

	resolver->open_jobs--;
	job->answer.text = job->reason;
	if (query) {
		query->job = NULL;
		query->on_answer(query, &job->answer);
	}
	free(job);
}

/*
 * One answer a wake-up: the answer's receiver may do anything, freeing the resolver included, and the event stays
 * readable while there are more.
 */
static void on_event_fd(struct loop_watch *watch, uint32_t events)
{
	struct resolver *resolver = list_entry(watch, struct resolver, watch);
	struct desk *desk = resolver->desk;
	uint64_t count;

	(void)events;
	pthread_mutex_lock(&desk->mutex);
	struct list *node = list_pop(&desk->done);
	if (list_empty(&desk->done) && read(desk->event_fd, &count, sizeof(count)) < 0) {
		/* EAGAIN: taken already. */
	}
	pthread_mutex_unlock(&desk->mutex);
	if (node)
		deliver(resolver, list_entry(node, struct resolver_job, node));
}

static struct desk *desk_new(resolver_lookup_fn lookup)
{
	struct desk *desk = calloc(1, sizeof(*desk));

	if (!desk)
		return NULL;
	desk->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (desk->event_fd < 0) {
		free(desk);
		return NULL;
	}
	(void)pthread_mutex_init(&desk->mutex, NULL);
	(void)pthread_cond_init(&desk->more, NULL);
	list_init(&desk->to_do);
	list_init(&desk->done);
	desk->lookup = lookup ? lookup : getaddrinfo;
	desk->holders = 1;
	return desk;
}

int resolver_new(struct loop *loop, resolver_lookup_fn lookup, struct resolver **ret_resolver)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	int err = -ENOMEM;

	if (!resolver)
		return -ENOMEM;
	resolver->loop = loop;
	resolver->desk = desk_new(lookup);
	if (!resolver->desk)
		goto free_resolver;
	resolver->watch = (struct loop_watch){
		.fd = resolver->desk->event_fd,
		.on_event = on_event_fd,
	};
	err = loop_watch_add(loop, &resolver->watch, EPOLLIN);
	if (err)
		goto leave;
	*ret_resolver = resolver;
	return 0;
leave:
	pthread_mutex_lock(&resolver->desk->mutex);
	leave_desk(resolver->desk);
free_resolver:
	free(resolver);
	return err;
}

static void forget_job(struct resolver_job *job)
{
	if (job->query)
		job->query->job = NULL;
	job->query = NULL;
}

static void forget_jobs(struct list *jobs)
{
	list_for_each (node, jobs)
		forget_job(list_entry(node, struct resolver_job, node));
}

void resolver_free(struct resolver *resolver)
{
	if (!resolver)
		return;
	struct desk *desk = resolver->desk;
	loop_watch_remove(resolver->loop, &resolver->watch);
	pthread_mutex_lock(&desk->mutex);
	desk->closed = true;
	bool busy = desk->current != NULL;
	if (busy)
		forget_job(desk->current);
	forget_jobs(&desk->to_do);
	forget_jobs(&desk->done);
	pthread_cond_signal(&desk->more);
	leave_desk(desk);
	if (resolver->started && busy)
		(void)pthread_detach(resolver->thread);
	else if (resolver->started)
		(void)pthread_join(resolver->thread, NULL);
	free(resolver);
}

int resolver_ask(struct resolver *resolver, struct resolver_query *query, const char *host_port)
{
	struct resolver_answer at_once = {.text = ""};
	struct resolver_job *job;
	bool v6;
	int err;

	assert(query->on_answer);
	resolver_cancel(resolver, query);
	if (resolver_parse_numeric(host_port, &at_once.endpoints[0]) == 0) {
		at_once.count = 1;
		query->on_answer(query, &at_once);
		return 0;
	}
	if (resolver->open_jobs >= RESOLVER_JOBS_MAX)
		return -ENOBUFS;
	job = calloc(1, sizeof(*job));
	if (!job)
		return -ENOMEM;
	list_init(&job->node);
	err = split(host_port, job->host, &job->port, &v6);
	if (!err && v6) /* brackets hold an address, and this is none */
		err = -EINVAL;
	if (!err)
		err = start_thread(resolver);
	if (err) {
		free(job);
		return err;
	}
	job->query = query;
	query->job = job;
	resolver->open_jobs++;
	pthread_mutex_lock(&resolver->desk->mutex);
	list_add_tail(&resolver->desk->to_do, &job->node);
	pthread_cond_signal(&resolver->desk->more);
	pthread_mutex_unlock(&resolver->desk->mutex);
	return 0;
}

/* A job that nobody began goes away at once, so that asking again while a lookup hangs piles nothing up. */
void resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
	struct resolver_job *job = query->job;
	struct desk *desk = resolver->desk;
	bool waiting = false;

	if (!job)
		return;
	forget_job(job);
	pthread_mutex_lock(&desk->mutex);
	list_for_each (node, &desk->to_do)
		waiting = waiting || node == &job->node;
	if (waiting)
		list_remove(&job->node);
	pthread_mutex_unlock(&desk->mutex);
	if (waiting) {
		resolver->open_jobs--;
		free(job);
	}
}
