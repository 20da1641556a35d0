/*
 * Keys: two networks on one host with the same private key, and what the daemon itself tells of its peers. Who has which key is
 * known by public halves alone; no private key leaves the configuration.
 */
#include "cli/doctor.h"

#include "cli/client.h"
#include "cli/key.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *own_key(const struct doctor *d)
{
	if (d->config && d->config->identity.public_key_text[0])
		return d->config->identity.public_key_text;
	return d->status ? d->status->public_key : "";
}

/* The public key of the daemon that answers on a socket; "" if none does. */
static void key_of_daemon(
	const struct doctor *d, const char *path, char ret_key[CONTROL_NAME_BYTES])
{
	struct cli other = *d->cli;
	struct control_request request = {.method = CONTROL_STATUS};
	struct control_answer answer;
	struct control_status status;
	struct client client;

	ret_key[0] = '\0';
	other.err = fopen("/dev/null", "w");
	if (!other.err)
		return;
	other.options.control = path;
	other.deadline_ms = cli_now_ms() + 1000;
	if (client_open(&other, &client) == EXIT_OK) {
		if (client_call(&client, &request, &answer) == EXIT_OK) {
			if (control_status_from_json(answer.result, &status) == 0) {
				memcpy(ret_key, status.public_key, CONTROL_NAME_BYTES);
				control_status_fini(&status);
			}
			control_answer_fini(&answer);
		}
		client_close(&client);
	}
	(void)fclose(other.err);
}

static bool is_own_socket(const struct doctor *d, const char *path, const char *network)
{
	if (d->cli->options.control)
		return strcmp(d->cli->options.control, path) == 0;
	return d->status && strcmp(d->status->network, network) == 0;
}

static void check_daemons(struct doctor *d, const char *key)
{
	DIR *dir = opendir(d->sockets);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL) {
		char path[CLI_PATH_BYTES], other[CONTROL_NAME_BYTES];
		if (!client_network_name_ok(entry->d_name))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s/control.sock", d->sockets, entry->d_name) >=
				(int)sizeof(path) ||
			access(path, F_OK) < 0 || is_own_socket(d, path, entry->d_name))
			continue;
		key_of_daemon(d, path, other);
		if (strcmp(other, key) == 0)
			doctor_add(d, DOCTOR_PROBLEM, "E-DOC-13", "twins",
				"network %s, which runs on this host, has the same key",
				entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* Files beside our own that are networks with the same key. */
static void check_files(struct doctor *d, const char *key)
{
	const char *slash = strrchr(d->file, '/');
	char folder[CLI_PATH_BYTES] = ".";
	struct config_reader reader = *config_reader_default();
	struct config_report *report = calloc(1, sizeof(*report));
	const struct dirent *entry;

	if (slash)
		(void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - d->file), d->file);
	reader.public_half = key_public_half;
	DIR *dir = *d->file && report ? opendir(folder) : NULL;
	while (dir && (entry = readdir(dir)) != NULL) {
		struct config *other = NULL;
		char path[2 * CLI_PATH_BYTES];
		size_t len = strlen(entry->d_name);
		if (entry->d_name[0] == '.' || len <= 5 ||
			strcmp(entry->d_name + len - 5, ".yaml") != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (strcmp(path, d->file) == 0 || config_load(path, &reader, &other, report))
			continue;
		if (strcmp(other->identity.public_key_text, key) == 0)
			doctor_add(d, DOCTOR_WARNING, "E-DOC-13", "twins",
				"%s, which may be started on this host, has the same key", path);
		config_free(other);
	}
	if (dir)
		closedir(dir);
	free(report);
}

void doctor_check_twins(struct doctor *d)
{
	const char *key = own_key(d);

	if (!*key)
		return;
	check_daemons(d, key);
	check_files(d, key);
	if (!doctor_found(d, "twins"))
		doctor_add(d, DOCTOR_OK, NULL, "twins", "no other network here has the same key");
}

/* Words of the daemon that mean that two sides do not agree about keys. */
static bool is_about_keys(const char *text)
{
	static const char *const words[] = {
		"public key", "preshared key", "network key", "preshared", "keys that no peer"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasestr(text, words[i]))
			return true;
	}
	return false;
}

static void check_peer(struct doctor *d, const struct control_peer *peer)
{
	bool told = false;

	for (size_t i = 0; i < peer->warnings.count; i++) {
		const char *text = peer->warnings.items[i];
		bool keys = is_about_keys(text);
		told |= keys;
		doctor_add(d, keys ? DOCTOR_PROBLEM : DOCTOR_WARNING,
			keys ? "E-DOC-14" : "E-DOC-17", "daemon", "peer %s: %s", peer->name, text);
	}
	for (size_t i = 0; i < peer->drop_count && !told; i++) {
		if (strcmp(peer->drops[i].verdict, "handshake_psk") == 0 &&
			peer->drops[i].count > 0 && !control_state_is_up(peer->state))
			doctor_add(d, DOCTOR_PROBLEM, "E-DOC-14", "daemon",
				"peer %s: its calls do not open: the preshared keys differ",
				peer->name);
	}
}

void doctor_check_daemon(struct doctor *d)
{
	if (!d->status) {
		doctor_add(d, DOCTOR_WARNING, "E-DOC-16", "daemon", "no daemon answers");
		return;
	}
	for (size_t i = 0; i < d->status->warnings.count; i++) {
		const char *text = d->status->warnings.items[i];
		bool keys = is_about_keys(text);
		/* strangers may call, too: that is no proof of a mistake here */
		doctor_add(d, DOCTOR_WARNING, keys ? "E-DOC-14" : "E-DOC-17", "daemon", "%s", text);
	}
	for (size_t i = 0; i < d->status->peer_count; i++)
		check_peer(d, &d->status->peers[i]);
	if (!doctor_found(d, "daemon"))
		doctor_add(d, DOCTOR_OK, NULL, "daemon",
			"the daemon runs and has nothing to complain of");
}
