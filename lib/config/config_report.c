/*
 * The report: codes with their help, and the form in which findings go to stderr. Codes are the only
 * stable handle that other programs and manuals have, so the table is append-only.
 */
#include "config/config_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct config_code_row CODES[] = {
	{"E-CFG-1", "A file cannot be read. Check the path, and who may read it."},
	{"E-CFG-2", "The file is not YAML. Indent with spaces, close quotes and brackets, write a "
		    "space behind each colon."},
	{"E-CFG-3",
		"There is no key of this name at this place. Keys that begin with x- are ignored "
		"and may hold notes."},
	{"E-CFG-4", "A key, a peer or an item of a list is given twice. Keep one of them."},
	{"E-CFG-5", "Aliases (*name) and tags (!name) are not used in these files. Write the value "
		    "out."},
	{"E-CFG-6", "A key that has no default is missing. Add it."},
	{"E-CFG-7",
		"The key takes another shape of value: a map (indented keys), a list ([a, b]) or "
		"a single value."},
	{"E-CFG-8",
		"The key is known, but the version that says so cannot do it yet. Take it out, or "
		"use a newer version."},
	{"E-CFG-9", "The value is not of the key's type: a whole number, true or false, a duration "
		    "(8ms, 25s), a rate (50M)."},
	{"E-CFG-10", "The key takes one of a few words, and this is none of them."},
	{"E-CFG-11", "The key has no meaning with the wire that is chosen. Take it out, or change "
		     "`wire`."},
	{"E-CFG-12", "The number is too small or too large; the range is inclusive."},
	{"E-CFG-13",
		"Not an IP address or CIDR (10.40.0.1/24, fd40::1/64), or one that cannot be used "
		"here."},
	{"E-CFG-14", "Not an endpoint: host:port or [IPv6]:port; `listen` takes numeric addresses "
		     "only."},
	{"E-CFG-15", "Not a name. Networks and peers: 1 to 63 of A-Z a-z 0-9 . _ -, not beginning "
		     "with . or -. Interfaces: 1 to 15 bytes without / : and spaces."},
	{"E-CFG-16", "Two peers claim the same inner addresses, so a packet's next hop would be "
		     "ambiguous. Give each address to one peer."},
	{"E-CFG-17",
		"A key cannot be used: it is empty, not 32 bytes in base64, nobody's public key, "
		"this host's own, given in two ways, or a secret that stands in the file itself. "
		"`kcpctl key gen FILE` makes a key, `kcpctl key pub FILE` prints its public "
		"half."},
	{"E-CFG-18", "The file is larger or deeper than any real configuration."},
	{"E-CFG-19",
		"The MTU does not fit. The native wire carries 1280 bytes and more, and so does "
		"IPv6. On the kcp-go wire one inner packet must fit one KCP segment: lower "
		"interface.mtu or raise kcp_go.mtu."},
	{"E-CFG-20", "datashard + parityshard is at most 255. A 0 in either turns FEC off."},
	{"E-CFG-21",
		"A key file's mode is more than 0640 (use: chmod 0600 FILE); or there are hooks, "
		"which run as root, and others than root can change one of these programs or a "
		"file of the configuration."},
	{"W-CFG-1",
		"With wire: kcp-go nobody's identity is proven: who knows the key, or records and "
		"replays packets, can send into the network."},
	{"W-CFG-2", "A file with a key can be read by every user of this machine. Use: chmod 0640 "
		    "FILE (or 0600)."},
	{"W-CFG-3",
		"Every user of this machine can change the configuration. Use: chmod o-w FILE."},
	{"W-CFG-4",
		"A peer has no endpoints, so it must call; but there is no fixed port to call, or "
		"nothing tells it from the others. Set listen, and give it allowed_ips."},
	{"W-CFG-5", "The cipher hides nothing (none, null) or next to nothing (xor)."},
	{"W-CFG-6", "full_tunnel: kill_switch lets no question for a name out beside the tunnel, "
		    "and no "
		    "server inside it is named. Set dns.servers."},
	{"W-CFG-7", "With routes.ingress_filter: off every peer may send from any address, as a "
		    "router may. Filter with nftables where that matters."},
	{"W-CFG-8", "A reload changes a key that a running daemon cannot take over; it keeps the "
		    "old value until it is restarted. systemctl restart vpnd@NAME."},
};

_Static_assert(sizeof(CODES) / sizeof(CODES[0]) == CONFIG_E_END - 1 + CONFIG_W_END - 1,
	"one row per code");

void config_report_init(struct config_report *report)
{
	memset(report, 0, sizeof(*report));
}

char *config_finding_code(const struct config_finding *finding, char text[16])
{
	(void)snprintf(text, 16, "%c-CFG-%u", finding->warning ? 'W' : 'E', finding->number % 1000);
	return text;
}

static void write_finding(FILE *out, const struct config_finding *f, const char *program)
{
	char code[16];

	(void)fprintf(out, "%s: %s %s", program, config_finding_code(f, code), f->file);
	if (f->line)
		(void)fprintf(out, ":%u:%u", f->line, f->column);
	(void)fprintf(out, ": %s\n", f->text);
	if (f->source[0] == '\0')
		return;
	(void)fprintf(out, "%5u | %s\n", f->line, f->source);
	(void)fprintf(out, "      | %*s^", (int)f->caret_at, "");
	for (unsigned i = 1; i < f->caret_len; i++)
		(void)fputc('~', out);
	(void)fprintf(out, "%s%s\n", f->note[0] ? " " : "", f->note);
}

static void write_rest(FILE *out, const char *program, const char *what, size_t count)
{
	if (count)
		(void)fprintf(out, "%s: %zu more %s%s not shown\n", program, count, what,
			count == 1 ? " is" : "s are");
}

int config_report_format(const struct config_report *report, const char *program, char **ret_text)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < report->error_count; i++)
		write_finding(out, &report->errors[i], program);
	write_rest(out, program, "error", report->error_total - report->error_count);
	for (size_t i = 0; i < report->warning_count; i++)
		write_finding(out, &report->warnings[i], program);
	write_rest(out, program, "warning", report->warning_total - report->warning_count);
	int failed = ferror(out);
	if (fclose(out) != 0 || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}

const struct config_code_row *config_report_codes(size_t *ret_count)
{
	*ret_count = sizeof(CODES) / sizeof(CODES[0]);
	return CODES;
}
