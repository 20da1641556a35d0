/* The status document to JSON and back; every key of the schema is there, unknown ones as null. */
#include "control/control_status.h"

#include "control/control_msg.h"
#include "core/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill(struct control_status *s)
{
	struct control_peer *p;

	control_status_init(s);
	strcpy(s->network, "office");
	strcpy(s->version, "0.1.0");
	strcpy(s->wire, "native");
	strcpy(s->public_key, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
	s->state = CONTROL_DEGRADED;
	s->uptime_s = 12.5;
	control_strings_add(&s->listen, "[::]:29900");
	strcpy(s->interface.name, "kcp0");
	s->interface.ifindex = 7;
	s->interface.mtu = 1400;
	s->interface.mtu_source = CONTROL_MTU_PROBED;
	control_strings_add(&s->interface.addresses, "10.40.0.1/24");
	s->interface.queues = 1;
	s->interface.offload = true;
	control_status_set_file(s, "/etc/vpnd/office.yaml");
	s->config.generation = 3;
	control_strings_addf(&s->warnings, "number %d", 1);
	p = control_status_add_peer(s, "branch-2");
	strcpy(p->public_key, "9fXc=");
	p->state = CONTROL_UP;
	strcpy(p->endpoint, "198.51.100.7:29900");
	control_strings_add(&p->endpoints, "branch2.example.net:29900");
	p->endpoint_moved_age_s = 14;
	p->last_rx_age_s = 0.25;
	p->handshake_age_s = 100;
	p->rtt_ms = 38.5;
	p->rtt_var_ms = 2;
	p->path_mtu = 1400;
	p->loss_raw_in = 0.001;
	p->loss_raw_out = 0;
	p->loss_residual_in = 0.0001;
	p->queue_ms = 1;
	p->aqm_drops = 2;
	p->aqm_marks = 3;
	p->retransmits = 4;
	p->rate_bps = 50000000;
	p->fec_out = (struct control_fec){CONTROL_FEC_RS, 10, 0.3};
	p->fec_in = (struct control_fec){CONTROL_FEC_OFF, CONTROL_UNKNOWN, 0};
	p->fec_recovered = 5;
	p->fec_wasted = 6;
	p->rx_bytes = INT64_MAX;
	p->tx_bytes = 0;
	p->rx_packets = 7;
	p->tx_packets = 8;
	control_peer_add_drop(p, "bad_crc", 9);
	control_peer_add_drop(p, "short", UINT64_MAX);
	control_strings_add(&p->allowed_ips, "10.42.0.0/16");
	control_strings_add(&p->warnings, "slow");
	for (int i = 0; i < 20; i++)
		control_status_add_peer(s, "nothing known");
}

/* Every key that the schema names, at its place, whatever is known. */
static const char *const top_keys[] = {"schema", "network", "version", "wire", "public_key",
	"state", "uptime_s", "listen", "interface", "config", "peers", "warnings"};
static const char *const interface_keys[] = {
	"name", "ifindex", "mtu", "mtu_source", "addresses", "queues", "offload"};
static const char *const peer_keys[] = {"name", "public_key", "state", "endpoint", "last_rx_age_s",
	"handshake_age_s", "rtt_ms", "rtt_var_ms", "path_mtu", "loss_raw_in", "loss_raw_out",
	"loss_residual_in", "queue_ms", "aqm_drops", "aqm_marks", "retransmits", "rate_bps", "fec",
	"rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "drops", "allowed_ips", "warnings"};
static const char *const fec_keys[] = {"out", "in", "recovered", "wasted"};
static const char *const code_keys[] = {"code", "window", "rate"};

#define all_keys(object, keys) keys_are_there(object, keys, sizeof(keys) / sizeof((keys)[0]))

static void keys_are_there(const json_t *object, const char *const *keys, size_t count)
{
	cr_assert(json_is_object(object));
	for (size_t i = 0; i < count; i++)
		cr_assert(json_object_get(object, keys[i]) != NULL, "no key %s", keys[i]);
}

Test(control_status, every_key_is_always_there)
{
	struct control_status s;
	size_t i;
	json_t *doc;
	json_t *peer;

	fill(&s);
	doc = control_status_to_json(&s);
	all_keys(doc, top_keys);
	all_keys(json_object_get(doc, "interface"), interface_keys);
	cr_assert(json_object_get(json_object_get(doc, "config"), "file"));
	cr_assert(json_object_get(json_object_get(doc, "config"), "generation"));
	json_array_foreach(json_object_get(doc, "peers"), i, peer)
	{
		const json_t *fec = json_object_get(peer, "fec");
		all_keys(peer, peer_keys);
		all_keys(fec, fec_keys);
		all_keys(json_object_get(fec, "out"), code_keys);
		all_keys(json_object_get(fec, "in"), code_keys);
	}
	peer = json_array_get(json_object_get(doc, "peers"), 1);
	cr_assert(json_is_null(json_object_get(peer, "rtt_ms")));
	cr_assert(json_is_null(json_object_get(peer, "loss_raw_out")));
	cr_assert(json_is_null(json_object_get(peer, "public_key")));
	cr_assert_str_eq(json_string_value(json_object_get(doc, "public_key")), s.public_key);
	cr_assert(json_is_null(
		json_object_get(json_object_get(json_object_get(peer, "fec"), "in"), "code")));
	json_decref(doc);
	control_status_fini(&s);
}

Test(control_status, pieces_are_the_whole)
{
	struct control_status s;
	char *before, *after, *peer, *begin, *whole;
	char text[1 << 16] = "";

	fill(&s);
	cr_assert_eq(control_strings_add(&s.warnings, "\"peers\":[ is no mark, \\\"peers\":[]"), 0);
	strcpy(s.network, "\"peers\":[");
	cr_assert_eq(control_status_frame(&s, &before, &after), 0);
	begin = control_answer_begin("\"a\"", before, NULL);
	strcat(text, begin);
	for (size_t i = 0; i < s.peer_count; i++) {
		peer = control_peer_text(&s.peers[i]);
		strcat(text, i > 0 ? "," : "");
		strcat(text, peer);
		free(peer);
	}
	strcat(text, after);
	strcat(text, "}\n");
	whole = control_answer_status("\"a\"", &s, NULL);
	cr_assert_str_eq(text, whole);
	free(before);
	free(after);
	free(begin);
	free(whole);
	control_status_fini(&s);
}

Test(control_status, round_trip_keeps_all)
{
	struct control_status s;
	struct control_status back;
	json_t *one;
	json_t *two;

	fill(&s);
	one = control_status_to_json(&s);
	cr_assert_eq(control_status_from_json(one, &back), 0);
	two = control_status_to_json(&back);
	cr_assert(json_equal(one, two));
	cr_assert_eq(back.peer_count, 21);
	cr_assert_eq(back.peers[0].rx_bytes, INT64_MAX);
	cr_assert_eq(back.peers[0].drops[1].count, (uint64_t)INT64_MAX,
		"the largest number of JSON here");
	cr_assert_str_eq(back.config.file, "/etc/vpnd/office.yaml");
	cr_assert_eq(back.peers[0].fec_out.code, CONTROL_FEC_RS);
	cr_assert_eq(back.peers[1].rtt_ms, CONTROL_UNKNOWN);
	cr_assert_eq(control_status_peer(&back, "branch-2"), &back.peers[0]);
	cr_assert_eq(control_status_peer(&back, "ghost"), NULL);
	cr_assert(control_status_keep(&back, "branch-2"));
	cr_assert_eq(back.peer_count, 1);
	cr_assert_not(control_status_keep(&back, "ghost"));
	json_decref(one);
	json_decref(two);
	control_status_fini(&s);
	control_status_fini(&back);
}

Test(control_status, odd_values_never_break_the_document)
{
	struct control_status s;
	struct control_peer *p;
	json_t *doc;

	control_status_init(&s);
	strcpy(s.network,
		"b\xff\xc0\xafz\xe2\x82"); /* not UTF-8: a lone byte, an overlong form, a cut character */
	p = control_status_add_peer(&s,
		"a name that is much longer than sixty-three bytes, which names never are, but");
	p->rtt_ms = NAN;
	p->rtt_var_ms = INFINITY;
	p->queue_ms = -1e300;
	control_peer_add_drop(p, "a verdict of more than forty characters is cut", 1);
	control_strings_add(&p->warnings, "caf\xc3\xa9 \xed\xa0\x80");
	doc = control_status_to_json(&s);
	cr_assert_neq(doc, NULL);
	cr_assert_str_eq(json_string_value(json_object_get(doc, "network")), "b???z??");
	json_t *peer = json_array_get(json_object_get(doc, "peers"), 0);
	cr_assert(json_is_null(json_object_get(peer, "rtt_ms")));
	cr_assert(json_is_null(json_object_get(peer, "rtt_var_ms")));
	cr_assert(json_is_null(json_object_get(peer, "queue_ms")));
	cr_assert_str_eq(json_string_value(json_array_get(json_object_get(peer, "warnings"), 0)),
		"caf\xc3\xa9 ???");
	json_decref(doc);
	control_status_fini(&s);
}

Test(control_status, wrong_documents_are_refused_later_ones_are_not)
{
	static const struct {
		const char *text;
		int want;
	} rows[] = {
		{"{\"schema\":\"kcpctl.status/1\",\"state\":\"up\",\"peers\":[]}", 0},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[],\"new\":{\"key\":[1]}}",
			0},
		{"{\"schema\":\"kcpctl.status/2\",\"state\":\"up\",\"peers\":[]}", -ERR_PROTOCOL},
		{"{\"state\":\"up\",\"peers\":[]}", -ERR_PROTOCOL},
		{"[]", -ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/1\",\"state\":\"sideways\",\"peers\":[]}",
			-ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/1\",\"peers\":[]}", -ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/1\",\"state\":\"up\"}", -ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/1\",\"state\":\"up\",\"peers\":[1]}", -ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[{\"state\":\"up\",\"rx_bytes\":-1}]}",
			-ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[{\"state\":\"up\",\"rx_bytes\":1.5}]}",
			-ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[{\"state\":\"up\",\"fec\":[]}]}",
			-ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[{\"state\":\"up\",\"drops\":{\"x\":\"y\"}"
		 "}]}",
			-ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[{\"state\":\"up\",\"warnings\":[1]}]}",
			-ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[{\"state\":\"up\",\"name\":7}]}",
			-ERR_PROTOCOL},
		{"{\"schema\":\"kcpctl.status/"
		 "1\",\"state\":\"up\",\"peers\":[],\"interface\":{\"offload\":1}}",
			-ERR_PROTOCOL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct control_status s;
		json_t *doc = json_loads(rows[i].text, 0, NULL);
		cr_assert(doc, "row %zu", i);
		cr_assert_eq(control_status_from_json(doc, &s), rows[i].want, "row %zu", i);
		control_status_fini(&s);
		json_decref(doc);
	}
}

Test(control_status, words)
{
	cr_assert_str_eq(control_state_str(CONTROL_IDLE), "idle");
	cr_assert_str_eq(control_state_str((enum control_state)99), "unknown");
	cr_assert(control_state_is_up(CONTROL_DEGRADED));
	cr_assert_not(control_state_is_up(CONTROL_CONNECTING));
	cr_assert_not(control_state_is_up(CONTROL_IDLE));
}
