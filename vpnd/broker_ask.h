/*
 * How broker.h asks the helper: numbered requests, answers in time or late, and what is believed of a helper that gives none. For
 * broker.c alone.
 */
#ifndef VPND_BROKER_ASK_H
#define VPND_BROKER_ASK_H

#include "vpnd/broker.h"
#include "vpnd/broker_msg.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	BROKER_END_MS = 500, /* for the last word, however long the rest took */
	BROKER_RUNNER_END_MS =
		24000, /* where programs run at the end: RUNNER_END_MS, and a second */
};

struct broker {
	struct loop *loop;
	struct loop_watch watch; /* tells of late answers, and that the other end is closed */
	int fd;			 /* -1 = the helper is gone */
	pid_t pid;
	uint32_t sequence; /* of the latest request */
	uint32_t value;	   /* that came with the latest answer that was waited for */
	bool stuck;	   /* that one is not answered, and its time is over */
	struct {
		bool under_way;	   /* asked, and not told yet */
		bool answered;	   /* `fd` and `fault` are to be told */
		uint32_t sequence; /* of its request */
		int64_t began_us;
		int fd;
		struct fault fault;
		struct loop_timer due; /* its time is over; or, answered, it is to be told */
		broker_read_fn done;
		void *ctx;
	} reading;
	void (*on_back)(void *ctx);
	void *on_back_ctx;
	int answer_ms;	       /* for a request */
	int read_ms;	       /* for one that reads the configuration */
	int64_t stop_until_us; /* for all requests together; 0 = the daemon does not stop */
	int ifindex;
	struct {
		char peer[BROKER_NAME_BYTES]; /* "" = free */
		int ifindex;
	} devices[CONFIG_DEVICES_MAX]; /* of single peers */
	int end_ms;		       /* for what the helper does at the end; 0 = nothing long */
	const struct log *log;
};

/**
 * Asks and waits for the answer, as long as broker.h says. If the helper turns out to be gone, it is lost (broker_lose()).
 *
 * @ret_fd  what came with the answer, -1 = nothing, owned by the caller; NULL = the answer has none
 * @return  0 or a negative errno with `*fault` filled
 */
int broker_ask(
	struct broker *broker, struct broker_request *request, int *ret_fd, struct fault *fault);

/** Sends a request without waiting, and puts its number into it. @return 0 or a negative errno with `*fault` filled */
int broker_put(struct broker *broker, struct broker_request *request, struct fault *fault);

/** Waits for the answer with this number. @ret_fd  as broker_ask(). @return 0 or a negative errno with `*fault` filled */
int broker_await(struct broker *broker, uint32_t sequence, int64_t until_us, int *ret_fd,
	struct fault *fault);

/** Receives one answer, whichever. @return 0, -ETIMEDOUT, -EPIPE or -EBADMSG */
int broker_receive(struct broker *broker, int64_t until_us, struct broker_answer *ret, int *ret_fd);

/** Takes the answers that have come and are not waited for. @return 0, or -EPIPE: the helper is gone */
int broker_take_others(struct broker *broker);

/** The helper has closed its end: it is ending, or was killed. */
void broker_lose(struct broker *broker);

/** Nothing more is asked until the answer to the latest request has come. */
void broker_note_stuck(struct broker *broker);

/** Whether the helper is still at reading the configuration. */
bool broker_reads(const struct broker *broker);

/** Fill `*fault`. @return -EPIPE, -ETIMEDOUT */
int broker_gone(struct fault *fault);
int broker_overdue(struct fault *fault, const char *text);

#endif
