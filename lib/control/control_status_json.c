/*
 * The status document to and from JSON. Writing goes key by key in the schema's order, because people read it, too.
 * Reading takes what a later daemon adds without complaint, but nothing of a wrong type: what comes over a socket
 * named on a command line may have been written by anybody.
 */
#include "control/control_status.h"

#include "control/control_json.h"
#include "core/err.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Takes the reference of `value`; remembers failure. */
static void put(json_t *object, const char *key, json_t *value, bool *failed)
{
	if (json_object_set_new(object, key, value))
		*failed = true;
}

static json_t *fec_to_json(const struct control_fec *fec)
{
	json_t *object = json_object();
	bool failed = !object;

	put(object, "code", control_json_text_or_null(control_fec_code_str(fec->code)), &failed);
	put(object, "window", control_json_count(fec->window), &failed);
	put(object, "rate", control_json_real(fec->rate), &failed);
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *peer_fec_to_json(const struct control_peer *peer)
{
	json_t *object = json_object();
	bool failed = !object;

	put(object, "out", fec_to_json(&peer->fec_out), &failed);
	put(object, "in", fec_to_json(&peer->fec_in), &failed);
	put(object, "recovered", control_json_count(peer->fec_recovered), &failed);
	put(object, "wasted", control_json_count(peer->fec_wasted), &failed);
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *drops_to_json(const struct control_peer *peer)
{
	json_t *object = json_object();
	bool failed = !object;

	for (size_t i = 0; i < peer->drop_count; i++) {
		const struct control_drop *drop = &peer->drops[i];
		int64_t count = drop->count > INT64_MAX ? INT64_MAX : (int64_t)drop->count;
		put(object, drop->verdict, control_json_count(count), &failed);
	}
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *peer_to_json(const struct control_peer *peer)
{
	json_t *o = json_object();
	bool failed = !o;

	put(o, "name", control_json_text(peer->name), &failed);
	put(o, "public_key", control_json_text_or_null(peer->public_key), &failed);
	put(o, "state", control_json_text(control_state_str(peer->state)), &failed);
	put(o, "enabled", json_boolean(peer->enabled), &failed);
	put(o, "endpoint", control_json_text_or_null(peer->endpoint), &failed);
	put(o, "endpoints", control_json_strings(&peer->endpoints), &failed);
	put(o, "endpoint_moved_age_s", control_json_real(peer->endpoint_moved_age_s), &failed);
	put(o, "last_rx_age_s", control_json_real(peer->last_rx_age_s), &failed);
	put(o, "handshake_age_s", control_json_real(peer->handshake_age_s), &failed);
	put(o, "rtt_ms", control_json_real(peer->rtt_ms), &failed);
	put(o, "rtt_var_ms", control_json_real(peer->rtt_var_ms), &failed);
	put(o, "path_mtu", control_json_count(peer->path_mtu), &failed);
	put(o, "loss_raw_in", control_json_real(peer->loss_raw_in), &failed);
	put(o, "loss_raw_out", control_json_real(peer->loss_raw_out), &failed);
	put(o, "loss_residual_in", control_json_real(peer->loss_residual_in), &failed);
	put(o, "queue_ms", control_json_real(peer->queue_ms), &failed);
	put(o, "aqm_drops", control_json_count(peer->aqm_drops), &failed);
	put(o, "aqm_marks", control_json_count(peer->aqm_marks), &failed);
	put(o, "retransmits", control_json_count(peer->retransmits), &failed);
	put(o, "rate_bps", control_json_count(peer->rate_bps), &failed);
	put(o, "fec", peer_fec_to_json(peer), &failed);
	put(o, "rx_bytes", control_json_count(peer->rx_bytes), &failed);
	put(o, "tx_bytes", control_json_count(peer->tx_bytes), &failed);
	put(o, "rx_packets", control_json_count(peer->rx_packets), &failed);
	put(o, "tx_packets", control_json_count(peer->tx_packets), &failed);
	put(o, "drops", drops_to_json(peer), &failed);
	put(o, "allowed_ips", control_json_strings(&peer->allowed_ips), &failed);
	put(o, "warnings", control_json_strings(&peer->warnings), &failed);
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

static json_t *workers_to_json(const struct control_status *status)
{
	json_t *list = json_array();
	bool failed = !list;

	for (size_t i = 0; i < status->interface.worker_count; i++) {
		const struct control_queue *queue = &status->interface.workers[i];
		json_t *o = json_object();
		failed |= !o;
		put(o, "rx_packets", control_json_count(queue->rx_packets), &failed);
		put(o, "tx_packets", control_json_count(queue->tx_packets), &failed);
		put(o, "handed_on", control_json_count(queue->handed_on), &failed);
		put(o, "datagrams_handed_on", control_json_count(queue->datagrams_handed_on),
			&failed);
		failed |= json_array_append_new(list, o) < 0;
	}
	if (!failed)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *interface_to_json(const struct control_status *status)
{
	json_t *o = json_object();
	bool failed = !o;
	const char *source = control_mtu_source_str(status->interface.mtu_source);

	put(o, "name", control_json_text_or_null(status->interface.name), &failed);
	put(o, "ifindex", control_json_count(status->interface.ifindex), &failed);
	put(o, "mtu", control_json_count(status->interface.mtu), &failed);
	put(o, "mtu_source", control_json_text_or_null(source), &failed);
	put(o, "addresses", control_json_strings(&status->interface.addresses), &failed);
	put(o, "queues", control_json_count(status->interface.queues), &failed);
	put(o, "offload", json_boolean(status->interface.offload), &failed);
	put(o, "workers", workers_to_json(status), &failed);
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

static json_t *config_to_json(const struct control_status *status)
{
	json_t *o = json_object();
	bool failed = !o;

	put(o, "file", control_json_text_or_null(status->config.file), &failed);
	put(o, "generation", control_json_count(status->config.generation), &failed);
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

json_t *control_status_to_json(const struct control_status *status)
{
	json_t *o = json_object();
	json_t *peers = json_array();
	bool failed = !o || !peers;

	for (size_t i = 0; !failed && i < status->peer_count; i++)
		failed = json_array_append_new(peers, peer_to_json(&status->peers[i])) != 0;
	put(o, "schema", control_json_text(CONTROL_STATUS_SCHEMA), &failed);
	put(o, "network", control_json_text_or_null(status->network), &failed);
	put(o, "version", control_json_text_or_null(status->version), &failed);
	put(o, "wire", control_json_text_or_null(status->wire), &failed);
	put(o, "public_key", control_json_text_or_null(status->public_key), &failed);
	put(o, "state", control_json_text(control_state_str(status->state)), &failed);
	put(o, "uptime_s", control_json_real(status->uptime_s), &failed);
	put(o, "listen", control_json_strings(&status->listen), &failed);
	put(o, "interface", interface_to_json(status), &failed);
	put(o, "config", config_to_json(status), &failed);
	put(o, "peers", peers, &failed);
	put(o, "warnings", control_json_strings(&status->warnings), &failed);
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

char *control_peer_text(const struct control_peer *peer)
{
	json_t *object = peer_to_json(peer);

	return control_json_compact(object, !object);
}

int control_status_frame(const struct control_status *status, char **ret_before, char **ret_after)
{
	/* In a string a quotation mark stands behind a backslash, so this is found at the key alone. */
	static const char MARK[] = "\"peers\":[";
	struct control_status frame = *status;

	frame.peers = NULL;
	frame.peer_count = frame.peer_capacity = 0;
	json_t *object = control_status_to_json(&frame);
	char *text = control_json_compact(object, !object);
	char *mark = text ? strstr(text, MARK) : NULL;
	char *after = mark ? strdup(mark + strlen(MARK)) : NULL;
	if (!after) {
		free(text);
		return -ENOMEM;
	}
	mark[strlen(MARK)] = '\0';
	*ret_before = text;
	*ret_after = after;
	return 0;
}

static void read_state(struct control_json_reader *r, enum control_state *state)
{
	char text[CONTROL_NAME_BYTES] = "";

	control_json_read_text(r, "state", text, sizeof(text));
	for (int i = CONTROL_DOWN; i <= CONTROL_IDLE; i++) {
		if (!strcmp(text, control_state_str((enum control_state)i))) {
			*state = (enum control_state)i;
			return;
		}
	}
	r->failed = true;
}

static void read_fec(struct control_json_reader *parent, const char *key, struct control_fec *fec)
{
	struct control_json_reader r = control_json_read_object(parent, key);
	char code[CONTROL_NAME_BYTES] = "";

	control_json_read_text(&r, "code", code, sizeof(code));
	for (int i = CONTROL_FEC_OFF; i <= CONTROL_FEC_RLC; i++) {
		if (!strcmp(code, control_fec_code_str((enum control_fec_code)i)))
			fec->code = (enum control_fec_code)i;
	}
	control_json_read_count(&r, "window", &fec->window);
	control_json_read_real(&r, "rate", &fec->rate);
	control_json_join(parent, &r);
}

static void read_drops(struct control_json_reader *parent, struct control_peer *peer)
{
	struct control_json_reader r = control_json_read_object(parent, "drops");
	const char *verdict;
	json_t *count;

	/* jansson iterates over a mutable object only; nothing is changed here */
	void *it = r.object ? json_object_iter((json_t *)(uintptr_t)r.object) : NULL;
	while (it) {
		verdict = json_object_iter_key(it);
		count = json_object_iter_value(it);
		if (!json_is_integer(count) || json_integer_value(count) < 0) {
			r.failed = true;
		} else if (control_peer_add_drop(
				   peer, verdict, (uint64_t)json_integer_value(count))) {
			r.failed = true;
			r.out_of_memory = true;
		}
		it = r.failed ? NULL : json_object_iter_next((json_t *)(uintptr_t)r.object, it);
	}
	control_json_join(parent, &r);
}

static void read_peer(struct control_json_reader *r, struct control_peer *peer)
{
	control_json_read_text(r, "name", peer->name, sizeof(peer->name));
	control_json_read_text(r, "public_key", peer->public_key, sizeof(peer->public_key));
	read_state(r, &peer->state);
	control_json_read_bool(r, "enabled", &peer->enabled);
	control_json_read_text(r, "endpoint", peer->endpoint, sizeof(peer->endpoint));
	control_json_read_strings(r, "endpoints", &peer->endpoints);
	control_json_read_real(r, "endpoint_moved_age_s", &peer->endpoint_moved_age_s);
	control_json_read_real(r, "last_rx_age_s", &peer->last_rx_age_s);
	control_json_read_real(r, "handshake_age_s", &peer->handshake_age_s);
	control_json_read_real(r, "rtt_ms", &peer->rtt_ms);
	control_json_read_real(r, "rtt_var_ms", &peer->rtt_var_ms);
	control_json_read_count(r, "path_mtu", &peer->path_mtu);
	control_json_read_real(r, "loss_raw_in", &peer->loss_raw_in);
	control_json_read_real(r, "loss_raw_out", &peer->loss_raw_out);
	control_json_read_real(r, "loss_residual_in", &peer->loss_residual_in);
	control_json_read_real(r, "queue_ms", &peer->queue_ms);
	control_json_read_count(r, "aqm_drops", &peer->aqm_drops);
	control_json_read_count(r, "aqm_marks", &peer->aqm_marks);
	control_json_read_count(r, "retransmits", &peer->retransmits);
	control_json_read_count(r, "rate_bps", &peer->rate_bps);
	struct control_json_reader fec = control_json_read_object(r, "fec");
	read_fec(&fec, "out", &peer->fec_out);
	read_fec(&fec, "in", &peer->fec_in);
	control_json_read_count(&fec, "recovered", &peer->fec_recovered);
	control_json_read_count(&fec, "wasted", &peer->fec_wasted);
	control_json_join(r, &fec);
	control_json_read_count(r, "rx_bytes", &peer->rx_bytes);
	control_json_read_count(r, "tx_bytes", &peer->tx_bytes);
	control_json_read_count(r, "rx_packets", &peer->rx_packets);
	control_json_read_count(r, "tx_packets", &peer->tx_packets);
	read_drops(r, peer);
	control_json_read_strings(r, "allowed_ips", &peer->allowed_ips);
	control_json_read_strings(r, "warnings", &peer->warnings);
}

static void read_peers(struct control_json_reader *r, struct control_status *status)
{
	const json_t *peers = json_object_get(r->object, "peers");

	if (!json_is_array(peers)) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; !r->failed && i < json_array_size(peers); i++) {
		struct control_json_reader one = {.object = json_array_get(peers, i)};
		struct control_peer *peer;
		if (!json_is_object(one.object)) {
			r->failed = true;
			return;
		}
		peer = control_status_add_peer(status, "");
		if (!peer) {
			r->failed = true;
			r->out_of_memory = true;
			return;
		}
		read_peer(&one, peer);
		control_json_join(r, &one);
	}
}

static void read_interface(struct control_json_reader *parent, struct control_status *status)
{
	struct control_json_reader r = control_json_read_object(parent, "interface");
	char source[CONTROL_NAME_BYTES] = "";

	control_json_read_text(&r, "name", status->interface.name, sizeof(status->interface.name));
	control_json_read_count(&r, "ifindex", &status->interface.ifindex);
	control_json_read_count(&r, "mtu", &status->interface.mtu);
	control_json_read_text(&r, "mtu_source", source, sizeof(source));
	for (int i = CONTROL_MTU_CONFIGURED; i <= CONTROL_MTU_PROBED; i++) {
		if (!strcmp(source, control_mtu_source_str((enum control_mtu_source)i)))
			status->interface.mtu_source = (enum control_mtu_source)i;
	}
	control_json_read_strings(&r, "addresses", &status->interface.addresses);
	control_json_read_count(&r, "queues", &status->interface.queues);
	control_json_read_bool(&r, "offload", &status->interface.offload);
	control_json_join(parent, &r);
}

int control_status_from_json(const json_t *doc, struct control_status *ret_status)
{
	struct control_json_reader r = {.object = doc, .failed = !json_is_object(doc)};
	char schema[CONTROL_NAME_BYTES] = "";

	control_status_init(ret_status);
	control_json_read_text(&r, "schema", schema, sizeof(schema));
	if (strcmp(schema, CONTROL_STATUS_SCHEMA) != 0)
		return -ERR_PROTOCOL;
	control_json_read_text(&r, "network", ret_status->network, sizeof(ret_status->network));
	control_json_read_text(&r, "version", ret_status->version, sizeof(ret_status->version));
	control_json_read_text(&r, "wire", ret_status->wire, sizeof(ret_status->wire));
	control_json_read_text(
		&r, "public_key", ret_status->public_key, sizeof(ret_status->public_key));
	read_state(&r, &ret_status->state);
	control_json_read_real(&r, "uptime_s", &ret_status->uptime_s);
	control_json_read_strings(&r, "listen", &ret_status->listen);
	read_interface(&r, ret_status);
	struct control_json_reader config = control_json_read_object(&r, "config");
	const char *file = json_string_value(json_object_get(config.object, "file"));
	if (file && control_status_set_file(ret_status, file)) {
		r.failed = true;
		r.out_of_memory = true;
	}
	control_json_read_count(&config, "generation", &ret_status->config.generation);
	control_json_join(&r, &config);
	read_peers(&r, ret_status);
	control_json_read_strings(&r, "warnings", &ret_status->warnings);
	if (!r.failed)
		return 0;
	control_status_fini(ret_status);
	return r.out_of_memory ? -ENOMEM : -ERR_PROTOCOL;
}
