/*
 * Requests are numbered. An answer that comes after its time is recognised by an old number and dropped together with a
 * descriptor it may carry.
 *
 * Packets wait while the worker waits. So a helper is waited for once: when an answer is overdue nothing more is sent,
 * and requests fail at once, until that answer has come; the loop watches for it. Of a thousand routes to a stuck helper
 * the first takes its time, and the others none. There is never more than one such request on its way.
 *
 * Reading the configuration is the one request that nobody waits for: files may lie where a read takes as long as it
 * likes. Its answer comes by the loop, and so does the news that it did not come. One other request may stand behind it;
 * counted from the begin of the reading, that is waited for no longer than any other.
 */
#include "vpnd/broker_ask.h"

#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int broker_gone(struct fault *fault)
{
	return fault_set(fault, -EPIPE, "E-PRIV-5", "restart vpnd",
		"the helper process that changes the host's network is gone");
}

/* The reading is over, whatever came of it. `fd` is taken. */
static void note_read(struct broker *broker, int fd, const struct fault *fault)
{
	broker->reading.answered = true;
	broker->reading.fd = fd;
	broker->reading.fault = *fault;
	if (fd < 0 && !fault->err)
		(void)fault_set(&broker->reading.fault, -EBADMSG, "E-PRIV-5", NULL,
			"the helper process said nonsense");
	loop_timer_arm(broker->loop, &broker->reading.due, loop_now(broker->loop));
}

bool broker_reads(const struct broker *broker)
{
	return broker->reading.under_way && !broker->reading.answered;
}

void broker_lose(struct broker *broker)
{
	if (broker->fd < 0)
		return;
	loop_watch_remove(broker->loop, &broker->watch);
	close(broker->fd);
	broker->fd = -1;
	(void)waitpid(broker->pid, NULL, 0);
	log_error(broker->log,
		"the helper process is gone: packets flow on, but addresses, routes and "
		"the configuration cannot be changed; restart vpnd");
	if (broker_reads(broker)) {
		struct fault fault = {0};
		(void)broker_gone(&fault);
		note_read(broker, -1, &fault);
	}
}

void broker_note_stuck(struct broker *broker)
{
	if (broker->stuck)
		return;
	broker->stuck = true;
	log_error(broker->log,
		"the helper process is stuck: packets flow on, but addresses, routes and the "
		"configuration cannot be changed until it answers");
}

static int64_t ms_left(int64_t until_us)
{
	int64_t left = (until_us - loop_clock().us + 999) / 1000;

	return left > 0 ? left : 0;
}

/* The descriptor that came with a message, -1 if none did. */
static int take_descriptor(struct msghdr *message)
{
	const struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int fd = -1;

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
		header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(header), sizeof(int));
	return fd;
}

int broker_receive(struct broker *broker, int64_t until_us, struct broker_answer *ret, int *ret_fd)
{
	uint8_t bytes[BROKER_ANSWER_BYTES + 1];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct pollfd readable = {.fd = broker->fd, .events = POLLIN};

	for (;;) {
		struct iovec piece = {bytes, sizeof(bytes)};
		struct msghdr message = {
			.msg_iov = &piece,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t len = recvmsg(broker->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (len > 0) {
			int fd = take_descriptor(&message);
			int error = broker_answer_read(bytes, (size_t)len, ret);
			if (error && fd >= 0)
				close(fd);
			else
				*ret_fd = fd;
			return error;
		}
		if (len == 0 || (errno != EAGAIN && errno != EINTR))
			return -EPIPE;
		int64_t left = ms_left(until_us);
		if (left == 0)
			return -ETIMEDOUT;
		(void)poll(&readable, 1, (int)left);
	}
}

/* An answer that is not the one waited for: of the reading, or after its time. `fd` is taken. */
static void take_other(struct broker *broker, const struct broker_answer *answer, int fd)
{
	if (broker_reads(broker) && answer->sequence == broker->reading.sequence) {
		if (answer->fault.err && fd >= 0)
			close(fd);
		note_read(broker, answer->fault.err ? -1 : fd, &answer->fault);
	} else if (fd >= 0) {
		close(fd);
	}
	if (!broker->stuck || answer->sequence != broker->sequence)
		return;
	broker->stuck = false;
	log_warn(broker->log, "the helper process answers again");
	if (broker->on_back)
		broker->on_back(broker->on_back_ctx);
}

int broker_take_others(struct broker *broker)
{
	struct broker_answer answer;
	int error, fd = -1;

	while ((error = broker_receive(broker, 0, &answer, &fd)) == 0)
		take_other(broker, &answer, fd);
	return error == -EPIPE ? error : 0;
}

int broker_await(struct broker *broker, uint32_t sequence, int64_t until_us, int *ret_fd,
	struct fault *fault)
{
	struct broker_answer answer;
	int fd = -1;

	*ret_fd = -1;
	for (;;) {
		int error = broker_receive(broker, until_us, &answer, &fd);
		if (error == -ETIMEDOUT)
			return fault_set(fault, error, "E-PRIV-5", NULL,
				"the helper process did not answer in time");
		if (error)
			return error == -EPIPE ? broker_gone(fault)
					       : fault_set(fault, error, "E-PRIV-5", NULL,
							 "the helper process said nonsense");
		if (answer.sequence == sequence)
			break;
		take_other(broker, &answer, fd);
	}
	if (answer.fault.err) {
		if (fd >= 0)
			close(fd);
		if (fault)
			*fault = answer.fault;
		return answer.fault.err;
	}
	*ret_fd = fd;
	broker->value = answer.value;
	return 0;
}

/* Until when an answer is waited for. @return 0 = not at all: that time is over */
static int64_t deadline_us(const struct broker *broker, enum broker_verb verb, bool waits)
{
	int64_t now_us = loop_clock().us;
	int64_t wait_ms = verb == BROKER_END ? BROKER_END_MS : broker->answer_ms;
	if (waits)
		wait_ms = BROKER_HOOK_MS;
	int64_t until_us = now_us + wait_ms * 1000;

	if (broker_reads(broker)) {
		int64_t most_us = broker->reading.began_us + (int64_t)broker->answer_ms * 1000;
		until_us = most_us < until_us ? most_us : until_us;
	}
	if (broker->stop_until_us && verb != BROKER_END && broker->stop_until_us < until_us)
		until_us = broker->stop_until_us;
	return now_us < until_us ? until_us : 0;
}

int broker_overdue(struct fault *fault, const char *text)
{
	return fault_set(fault, -ETIMEDOUT, "E-PRIV-5", NULL, "%s", text);
}

int broker_put(struct broker *broker, struct broker_request *request, struct fault *fault)
{
	uint8_t bytes[BROKER_REQUEST_BYTES];

	request->sequence = ++broker->sequence;
	broker_request_write(request, bytes);
	if (send(broker->fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	return errno == EPIPE || errno == ECONNRESET
		       ? broker_gone(fault)
		       : broker_overdue(fault, "the helper process cannot be asked");
}

static int exchange(
	struct broker *broker, struct broker_request *request, int *ret_fd, struct fault *fault)
{
	if ((broker->stuck || broker_reads(broker)) && broker_take_others(broker) < 0)
		return broker_gone(fault);
	if (broker->stuck)
		return broker_overdue(fault, "the helper process is stuck");
	int64_t until_us = deadline_us(broker, request->verb,
		request->verb == BROKER_HOOK && request->value == CONFIG_HOOK_PRE_UP);
	if (!until_us)
		return broker_overdue(
			fault, broker_reads(broker)
				       ? "the helper process is still reading the configuration"
				       : "there is no time left: what the helper would remove goes "
					 "with the interface");
	int error = broker_put(broker, request, fault);
	if (!error)
		error = broker_await(broker, request->sequence, until_us, ret_fd, fault);
	if (error == -ETIMEDOUT)
		broker_note_stuck(broker);
	return error;
}

int broker_ask(
	struct broker *broker, struct broker_request *request, int *ret_fd, struct fault *fault)
{
	int fd = -1;

	if (broker->fd < 0)
		return broker_gone(fault);
	int error = exchange(broker, request, &fd, fault);
	if (error == -EPIPE)
		broker_lose(broker);
	if (!error && ret_fd && fd < 0)
		error = fault_set(
			fault, -EBADMSG, "E-PRIV-5", NULL, "the helper process said nonsense");
	if (ret_fd)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return error;
}
