/*
 * What doctor is made of: the case (what is known of the network and its host), the checks, which look and add findings, and
 * the report.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "cli/cli.h"
#include "config/config.h"
#include "control/control_status.h"

#include <stddef.h>
#include <stdint.h>

enum doctor_level {
	DOCTOR_PROBLEM, /* it does not work because of this, or not well */
	DOCTOR_WARNING, /* it may */
	DOCTOR_UNKNOWN, /* could not be looked at */
	DOCTOR_OK,
};

enum {
	DOCTOR_TEXT_BYTES = 640,
	DOCTOR_FINDINGS_MAX = 200,
};

struct doctor_finding {
	enum doctor_level level;
	const char *code;  /* "E-DOC-1"; NULL with DOCTOR_OK */
	const char *check; /* "tun", "firewall": which check it comes of; static */
	char text[DOCTOR_TEXT_BYTES];
};

/** One run. */
struct doctor {
	const struct cli *cli;
	const struct config *config;	     /* NULL = none, or not valid */
	const char *file;		     /* of the configuration; "" = none */
	const struct control_status *status; /* NULL = the daemon does not answer */
	char sockets[CLI_PATH_BYTES]; /* folder in which NETWORK/control.sock are looked for */
	bool root;
	struct doctor_finding *findings; /* DOCTOR_FINDINGS_MAX; more are counted only */
	size_t count;
	size_t lost;
};

/** Adds a finding. Of each check that found nothing wrong there is one with DOCTOR_OK. */
void doctor_add(struct doctor *doctor, enum doctor_level level, const char *code, const char *check,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

/** How many findings of the check are there that are not DOCTOR_OK. */
size_t doctor_found(const struct doctor *doctor, const char *check);

/* doctor_host.c: the machine */
void doctor_check_tun(struct doctor *doctor);
void doctor_check_capability(struct doctor *doctor);
void doctor_check_ports(struct doctor *doctor);
void doctor_check_rp_filter(struct doctor *doctor);
void doctor_check_clock(struct doctor *doctor);

/* doctor_network.c: its addresses, routes and names */
void doctor_check_addresses(struct doctor *doctor);
void doctor_check_routes(struct doctor *doctor);
void doctor_check_rules(struct doctor *doctor);
void doctor_check_endpoints(struct doctor *doctor); /* names, and the MTU of the way there */

/* doctor_path.c */
void doctor_check_paths(struct doctor *doctor); /* of peers that are up: what comes through whole */

/* doctor_firewall.c */
void doctor_check_firewall(struct doctor *doctor);

/* doctor_keys.c */
void doctor_check_twins(struct doctor *doctor);	 /* two networks with one key */
void doctor_check_daemon(struct doctor *doctor); /* what the daemon itself says of keys, and else */

/** What was found, for people or as JSON. @return EXIT_OK if there is no problem, else EXIT_OTHER */
int doctor_report(const struct doctor *doctor);

#endif
