/*
 * Deadlines derive from four instants. While something waits for an answer the conversation dies
 * dead_after past the later of the last sign of life and the beginning of the wait: what was sent
 * after a long quiet time gets the whole dead_after. Probes run on their own clock and begin a wait
 * themselves, so keepalive alone finds a dead peer.
 */
#include "session/session.h"

static bool ended(const struct session *s)
{
	return s->state == SESSION_DEAD || s->state == SESSION_IDLE;
}

static void arm_probe(struct session *s, struct mono from)
{
	s->probe_retry_us = SESSION_PROBE_RETRY_US;
	s->probe_at =
		s->config.keepalive_us > 0 ? mono_add_us(from, s->config.keepalive_us) : MONO_NEVER;
}

void session_init(struct session *s, const struct session_config *config, struct mono now)
{
	*s = (struct session){
		.config = *config,
		.state = SESSION_OPENING,
		.heard_at = now,
		.active_at = now,
		.waiting_since = MONO_NEVER,
	};
	arm_probe(s, now);
}

void session_set_config(struct session *s, const struct session_config *config)
{
	s->config = *config;
	arm_probe(s, s->heard_at);
}

bool session_heard(struct session *s, struct mono now)
{
	if (ended(s))
		return false;
	bool first = s->state == SESSION_OPENING;
	s->state = SESSION_UP;
	s->heard_at = now;
	s->active_at = now;
	if (!mono_is_never(s->waiting_since))
		s->waiting_since = now;
	arm_probe(s, now);
	return first;
}

void session_sent_waiting(struct session *s, struct mono now)
{
	if (ended(s))
		return;
	s->active_at = now;
	if (!mono_is_never(s->waiting_since))
		return;
	s->waiting_since = now;
	if (s->config.keepalive_us > 0)
		s->probe_at = mono_min(s->probe_at, mono_add_us(now, SESSION_PROBE_WAITING_US));
}

void session_answered(struct session *s)
{
	s->waiting_since = MONO_NEVER;
}

static struct mono dead_at(const struct session *s)
{
	if (s->config.dead_after_us <= 0 || mono_is_never(s->waiting_since))
		return MONO_NEVER;
	return mono_add_us(mono_max(s->heard_at, s->waiting_since), s->config.dead_after_us);
}

static struct mono idle_at(const struct session *s)
{
	return s->config.idle_after_us > 0 ? mono_add_us(s->active_at, s->config.idle_after_us)
					   : MONO_NEVER;
}

struct mono session_next_deadline(const struct session *s)
{
	if (ended(s))
		return MONO_NEVER;
	return mono_min(s->probe_at, mono_min(dead_at(s), idle_at(s)));
}

enum session_action session_on_deadline(struct session *s, struct mono now)
{
	if (ended(s))
		return SESSION_NOTHING;
	if (mono_due(dead_at(s), now)) {
		s->state = SESSION_DEAD;
		return SESSION_EXPIRE;
	}
	if (mono_due(idle_at(s), now)) {
		s->state = SESSION_IDLE;
		return SESSION_EXPIRE;
	}
	if (mono_due(s->probe_at, now)) {
		s->probe_at = mono_add_us(now, s->probe_retry_us);
		s->probe_retry_us = 2 * s->probe_retry_us < SESSION_PROBE_RETRY_MAX_US
					    ? 2 * s->probe_retry_us
					    : SESSION_PROBE_RETRY_MAX_US;
		if (mono_is_never(s->waiting_since))
			s->waiting_since = now;
		return SESSION_PROBE;
	}
	return SESSION_NOTHING;
}
