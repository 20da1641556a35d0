/*
 * What the helper does for a worker that it does not trust: only what the configuration, as the helper itself read it,
 * asks for. A worker that was taken over can at most bring about another mix of what the administrator wrote.
 */
#ifndef VPND_BROKER_RULES_H
#define VPND_BROKER_RULES_H

#include "vpnd/broker_msg.h"

#include <stddef.h>
#include <stdint.h>

struct config;

enum {
	/* Of peers given at run time: so many networks, and none of them as large as this. */
	BROKER_DESTINATIONS_MAX = 1024,
	BROKER_DESTINATION_LENGTH_MIN = 8,
};

struct broker_rules {
	struct config *in_force; /* owned */
	struct config *latest;	 /* read after it; owned, NULL = none */
	uint8_t protocols[32]; /* bit n: a configuration since the start named routes.protocol n */
	size_t peer_hint; /* where the last destination was found: requests come in the same order */
	size_t prefix_hint;
	struct ip_prefix *destinations; /* owned; NULL = none */
	size_t destination_count;
};

/** @config  in force; taken */
void broker_rules_init(struct broker_rules *rules, struct config *config);
void broker_rules_fini(struct broker_rules *rules);

/** Another configuration was read: what it names is allowed, too. @config  taken */
void broker_rules_offer(struct broker_rules *rules, struct config *config);

/** The latest one is in force: the older one allows nothing more. */
void broker_rules_keep(struct broker_rules *rules);

/**
 * A peer was given at run time, by somebody whose rights the worker judged: routes to its addresses are allowed, too.
 *
 * @return 0 or a negative errno with `*fault` filled
 */
int broker_rules_add_destination(
	struct broker_rules *rules, const struct ip_prefix *prefix, struct fault *fault);

/** The configuration read last. */
const struct config *broker_rules_config(const struct broker_rules *rules);

/** @return 0 or -EPERM with `*fault` filled */
int broker_rules_judge(
	struct broker_rules *rules, const struct broker_request *request, struct fault *fault);

#endif
