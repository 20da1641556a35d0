/*
 * Three calls make a link's settings: servers, domains, and whether names that belong to no domain go there. The domain
 * "~." sends all names to this link and to no other; it stands for "no other server is asked" with a full tunnel, or where
 * dns.search names none. With domains named and no full tunnel, only names below these go there (split DNS).
 *
 * The settings belong to the link: when it goes, whoever ended the daemon, they go with it. So there is nothing to be
 * made good after a crash.
 *
 * A service that does not run is not started for this: then somebody else is the resolver of this host.
 *
 * Sources: org.freedesktop.resolve1(5), D-Bus Specification "Authentication Protocol".
 */
#include "vpnd/resolved.h"

#include "config/config.h"
#include "vpnd/dbus_message.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char BUS[] = "/run/dbus/system_bus_socket";
static const char NAME[] = "org.freedesktop.resolve1";

struct bus {
	int fd;
	int64_t until_us;
	uint32_t serial;
	char error_name[DBUS_ERROR_BYTES];
	struct dbus_writer body;
	struct dbus_writer message;
	uint8_t answer[DBUS_BYTES_MAX];
};

/* ---- the connection --------------------------------------------------------------------------------------------- */

static int await(const struct bus *bus, short events)
{
	struct pollfd ready = {.fd = bus->fd, .events = events};
	int64_t left_ms = (bus->until_us - loop_clock().us) / 1000;

	if (left_ms <= 0)
		return -ETIME;
	return poll(&ready, 1, (int)left_ms) < 0 && errno != EINTR ? -errno : 0;
}

static int send_all(const struct bus *bus, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = send(bus->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			at += n;
			len -= (size_t)n;
			continue;
		}
		int error = n < 0 && (errno == EAGAIN || errno == EINTR) ? await(bus, POLLOUT)
									 : -ECONNRESET;
		if (error)
			return error;
	}
	return 0;
}

static int receive_all(const struct bus *bus, uint8_t *at, size_t len)
{
	while (len > 0) {
		ssize_t n = recv(bus->fd, at, len, MSG_DONTWAIT);
		if (n > 0) {
			at += n;
			len -= (size_t)n;
			continue;
		}
		int error = n < 0 && (errno == EAGAIN || errno == EINTR) ? await(bus, POLLIN)
									 : -ECONNRESET;
		if (error)
			return error;
	}
	return 0;
}

/* One line, without its end; it is read byte by byte, as what follows is no text. */
static int receive_line(const struct bus *bus, char *line, size_t room)
{
	size_t len = 0;

	for (;;) {
		uint8_t byte;
		int error = receive_all(bus, &byte, 1);
		if (error)
			return error;
		if (byte == '\n')
			break;
		if (len + 1 >= room)
			return -EBADMSG;
		line[len++] = (char)byte;
	}
	line[len] = '\0';
	return 0;
}

/* The kernel vouches for the user; its number is given in decimal, each digit in hexadecimal. */
static int authenticate(const struct bus *bus)
{
	char number[16], text[80] = "AUTH EXTERNAL ", line[160];

	(void)snprintf(number, sizeof(number), "%u", (unsigned)geteuid());
	for (const char *at = number; *at; at++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%02x",
			(unsigned)(uint8_t)*at);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "\r\n");
	int error = send_all(bus, "", 1);
	if (!error)
		error = send_all(bus, text, strlen(text));
	if (!error)
		error = receive_line(bus, line, sizeof(line));
	if (!error && strncmp(line, "OK", 2) != 0)
		error = -EACCES;
	return error ? error : send_all(bus, "BEGIN\r\n", strlen("BEGIN\r\n"));
}

/* Calls with what stands in bus->body, and waits for the answer. @return 0, -EREMOTEIO for an error that it names, ... */
static int call(struct bus *bus, const char *destination, const char *path, const char *interface,
	const char *member, const char *signature)
{
	const struct dbus_call what = {
		destination, path, interface, member, signature, ++bus->serial};
	struct dbus_answer answer;

	if (!dbus_call_write(&bus->message, &what, signature ? &bus->body : NULL))
		return -EMSGSIZE;
	int error = send_all(bus, bus->message.bytes, bus->message.len);
	while (!error) {
		error = receive_all(bus, bus->answer, DBUS_HEADER_BYTES);
		size_t len = error ? 0 : dbus_message_bytes(bus->answer);
		if (!error && len < DBUS_HEADER_BYTES)
			error = -EBADMSG;
		if (!error)
			error = receive_all(
				bus, bus->answer + DBUS_HEADER_BYTES, len - DBUS_HEADER_BYTES);
		if (!error)
			error = dbus_answer_read(bus->answer, len, &answer);
		if (!error && answer.reply_to == bus->serial)
			break;
	}
	if (error || !answer.error)
		return error;
	memcpy(bus->error_name, answer.error_name, sizeof(bus->error_name));
	return -EREMOTEIO;
}

static struct bus *bus_open(int *ret_error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct bus *bus = calloc(1, sizeof(*bus));
	int error = -ENOMEM;

	if (!bus)
		goto fail;
	memcpy(address.sun_path, BUS, sizeof(BUS));
	bus->until_us = loop_clock().us + RESOLVED_MS * INT64_C(1000);
	bus->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bus->fd < 0) {
		error = -errno;
		goto free_bus;
	}
	if (connect(bus->fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		error = -ENOENT; /* there is no bus: nobody to tell */
		goto close_fd;
	}
	error = authenticate(bus);
	if (!error)
		error = call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
			"org.freedesktop.DBus", "Hello", NULL);
	if (!error)
		return bus;
close_fd:
	close(bus->fd);
free_bus:
	free(bus);
fail:
	*ret_error = error;
	return NULL;
}

static void bus_close(struct bus *bus)
{
	close(bus->fd);
	free(bus);
}

/* ---- the calls -------------------------------------------------------------------------------------------------- */

static struct dbus_writer *begin(struct bus *bus, int ifindex)
{
	bus->body.len = 0;
	bus->body.full = false;
	dbus_put_u32(&bus->body, (uint32_t)ifindex);
	return &bus->body;
}

static int manager(struct bus *bus, const char *member, const char *signature)
{
	return call(bus, NAME, "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager",
		member, signature);
}

/* a(iay), or with ports a(iayqs), which systemd 246 brought. */
static int set_servers(struct bus *bus, const struct config *config, int ifindex)
{
	struct kcpvpn_endpoint server = {0};
	bool ports = false;

	for (size_t i = 0; i < config->dns.servers.count; i++)
		ports |= config_dns_server(config, i, &server) && server.port != 0;
	struct dbus_writer *w = begin(bus, ifindex);
	size_t list = dbus_begin_array(w, 8);
	for (size_t i = 0; i < config->dns.servers.count; i++) {
		if (!config_dns_server(config, i, &server))
			continue;
		dbus_align(w, 8);
		dbus_put_u32(w, server.family == 4 ? AF_INET : AF_INET6);
		size_t address = dbus_begin_array(w, 1);
		for (size_t k = 0; k < (server.family == 4 ? 4U : 16U); k++)
			dbus_put_byte(w, server.address[k]);
		dbus_end_array(w, address, 1);
		if (ports) {
			dbus_put_u16(w, server.port);
			dbus_put_string(w, "");
		}
	}
	dbus_end_array(w, list, 8);
	return ports ? manager(bus, "SetLinkDNSEx", "ia(iayqs)")
		     : manager(bus, "SetLinkDNS", "ia(iay)");
}

static void put_domain(struct dbus_writer *w, const char *domain, bool routing_only)
{
	dbus_align(w, 8);
	dbus_put_string(w, domain);
	dbus_put_u32(w, routing_only);
}

static int set_domains(struct bus *bus, const struct config *config, int ifindex)
{
	struct dbus_writer *w = begin(bus, ifindex);
	size_t list = dbus_begin_array(w, 8);

	for (size_t i = 0; i < config->dns.search.count; i++) {
		const char *domain = config->dns.search.items[i];
		put_domain(w, domain + (domain[0] == '~'), domain[0] == '~');
	}
	if (!config_dns_is_split(config))
		put_domain(w, ".", true);
	dbus_end_array(w, list, 8);
	return manager(bus, "SetLinkDomains", "ia(sb)");
}

static int set_default(struct bus *bus, const struct config *config, int ifindex)
{
	struct dbus_writer *w = begin(bus, ifindex);

	dbus_put_u32(w, !config_dns_is_split(config));
	int error = manager(bus, "SetLinkDefaultRoute", "ib");
	/* before systemd 240 there was no such setting: the domains say it */
	if (error == -EREMOTEIO &&
		strcmp(bus->error_name, "org.freedesktop.DBus.Error.UnknownMethod") == 0)
		return 0;
	return error;
}

/* Nobody has this name on the bus. */
static bool is_absent(const struct bus *bus)
{
	return strcmp(bus->error_name, "org.freedesktop.DBus.Error.ServiceUnknown") == 0 ||
	       strcmp(bus->error_name, "org.freedesktop.DBus.Error.NameHasNoOwner") == 0;
}

static int failed(int error, const struct bus *bus, struct fault *fault)
{
	bool named = error == -EREMOTEIO && bus;

	return fault_set(fault, error, "E-DNS-1", NULL,
		"cannot tell systemd-resolved the servers of the tunnel: %s",
		named ? bus->error_name : strerror(-error));
}

int resolved_set(const struct config *config, int ifindex, struct fault *fault)
{
	int error = 0;
	struct bus *bus = bus_open(&error);

	if (!bus)
		return error == -ENOENT ? error : failed(error, NULL, fault);
	error = set_servers(bus, config, ifindex);
	if (!error)
		error = set_domains(bus, config, ifindex);
	if (!error)
		error = set_default(bus, config, ifindex);
	if (error == -EREMOTEIO && is_absent(bus))
		error = -ENOENT;
	else if (error)
		(void)failed(error, bus, fault);
	bus_close(bus);
	return error;
}

int resolved_unset(int ifindex, struct fault *fault)
{
	int error = 0;
	struct bus *bus = bus_open(&error);

	if (!bus)
		return error == -ENOENT ? error : failed(error, NULL, fault);
	(void)begin(bus, ifindex);
	error = manager(bus, "RevertLink", "i");
	if (error == -EREMOTEIO &&
		strcmp(bus->error_name, "org.freedesktop.resolve1.NoSuchLink") == 0)
		error = 0; /* and with the link it forgot */
	if (error == -EREMOTEIO && is_absent(bus))
		error = -ENOENT;
	else if (error)
		(void)failed(error, bus, fault);
	bus_close(bus);
	return error;
}
