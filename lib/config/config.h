/*
 * The configuration of one network: read from YAML, checked whole, given as plain values.
 *
 * vpnd and kcpctl read the same files by this module. A configuration that was returned is complete:
 * defaults are filled in, peers have inherited what they do not set, paths are absolute, keys are read
 * from their files, and every cross check has passed. Nothing refers to the files any more.
 *
 * On reload, other keys of our own (private key, network key) are a change of effect
 * CONFIG_EFFECT_SESSIONS, also if the path of the file is the same; other keys of a peer are
 * CONFIG_PEER_KEYS.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "config/config_reader.h"
#include "config/config_report.h"
#include "config/config_schema.h"
#include "core/ip_prefix.h"
#include "core/log.h"
#include "kcpvpn/endpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Words that may stand where a number does. */
enum config_word {
	CONFIG_AUTO = -1,
	CONFIG_OFF = -2,
	CONFIG_MAIN = -3,
	CONFIG_RANDOM = -4,
	CONFIG_INHERIT = -5,
};

enum config_wire {
	CONFIG_WIRE_NATIVE,
	CONFIG_WIRE_KCP_GO,
};

/** kcptun's modes. */
enum config_kcp_mode {
	CONFIG_KCP_NORMAL, /* nodelay 0, interval 40 ms, resend 2, no congestion window */
	CONFIG_KCP_FAST,   /* 0, 30, 2, 1 */
	CONFIG_KCP_FAST2,  /* 1, 20, 2, 1 */
	CONFIG_KCP_FAST3,  /* 1, 10, 2, 1 */
};

/** What hides the lengths of packets on the native wire. */
enum config_padding {
	CONFIG_PADDING_NONE,
	CONFIG_PADDING_16,   /* lengths are multiples of 16 */
	CONFIG_PADDING_FULL, /* all datagrams with data have one length */
};

/** What bounds what is in flight. */
enum config_congestion {
	CONFIG_CONGESTION_AUTO,	 /* what the path was measured to hold, at most sndwnd; paced */
	CONFIG_CONGESTION_FIXED, /* transport.rate_max; on the kcp-go wire sndwnd, as kcptun */
};

/** Which device carries what goes to a peer. */
enum config_selection {
	CONFIG_SELECTION_ALLOWED_IPS, /* one device; the owner of the destination is the next hop */
	CONFIG_SELECTION_INTERFACE,   /* one device for each peer besides, for any destination */
};

enum config_ingress_filter {
	CONFIG_INGRESS_STRICT, /* the source of a packet belongs to the peer it comes from */
	CONFIG_INGRESS_OFF,
};

/** What to do where somebody else has a route to the same destination. */
enum config_clash {
	CONFIG_CLASH_REFUSE, /* nothing is brought up, or taken over */
	CONFIG_CLASH_PREFER_TUNNEL,
	CONFIG_CLASH_PREFER_LOCAL,
};

enum config_full_tunnel {
	CONFIG_FULL_TUNNEL_OFF,
	CONFIG_FULL_TUNNEL_ROUTE,
	CONFIG_FULL_TUNNEL_KILL_SWITCH, /* and nothing goes out while there is no tunnel */
};

enum config_hook {
	CONFIG_HOOK_PRE_UP,
	CONFIG_HOOK_UP,
	CONFIG_HOOK_DOWN,
	CONFIG_HOOK_PEER_UP,
	CONFIG_HOOK_PEER_DOWN,
	CONFIG_HOOKS,
};

enum config_log_format {
	CONFIG_LOG_TEXT,
	CONFIG_LOG_JSON,
};

enum {
	CONFIG_NAME_MAX = 63,	  /* network and peer names, bytes */
	CONFIG_DEVICE_MAX = 15,	  /* interface names, bytes */
	CONFIG_SECRET_MAX = 1024, /* kcp_go.key, bytes */
	CONFIG_MTU_MIN = 576,
	CONFIG_RATE_MIN_BPS =
		10000, /* less is no rate but a mistake: a full packet would take seconds */
	CONFIG_MTU_NATIVE =
		1400, /* where `auto` begins on the native wire: an Ethernet's over IPv4 */
	CONFIG_MTU_MIN_IPV6 = 1280, /* below it Linux takes IPv6 off an interface for good */
	CONFIG_FILE_MAX_BYTES = 16 << 20,
	CONFIG_FILES_MAX = 4096,
	CONFIG_PEERS_MAX = 65536,
	CONFIG_DEVICES_MAX = 256, /* peers with a device of their own */
	CONFIG_DNS_MAX = 16,	  /* servers, and domains */
	CONFIG_EXEMPT_MAX = 64,	  /* of full_tunnel.exempt */
};

/** Where a peer may be found: a name to resolve or a numeric address, not yet resolved. */
struct config_endpoint {
	char *host; /* without brackets; an IPv6 address may carry "%scope" */
	uint16_t port;
};

struct config_strings {
	char **items;
	size_t count;
};
struct config_cidrs {
	struct ip_prefix *items;
	size_t count;
};
struct config_endpoints {
	struct config_endpoint *items;
	size_t count;
};
struct config_listen {
	struct kcpvpn_endpoint *items; /* "[::]:p" takes IPv4 as well */
	size_t count;
};

/** How inner packets are carried. */
enum config_class {
	CONFIG_CLASS_AUTO,     /* by what they are */
	CONFIG_CLASS_DATAGRAM, /* without order; on the kcp-go wire what is urgent, out of band */
	CONFIG_CLASS_RELIABLE, /* in order */
};

struct config_transport {
	int class;	 /* enum config_class */
	int queue_ms;	 /* hard bound of the wait in the queue */
	int deadline_ms; /* bulk packets are given up after it; CONFIG_AUTO = by class. Native */
	int padding;	 /* enum config_padding; native */
	int congestion;	 /* enum config_congestion */
	int dscp;	 /* of outer packets, 0..63 or CONFIG_INHERIT */
	bool ecn;	 /* native */
	int64_t rate_max_bps; /* most that is sent to a peer; 0 = no bound */
};

enum config_fec_mode {
	CONFIG_FEC_OFF,
	CONFIG_FEC_FIXED,
	CONFIG_FEC_ADAPTIVE,
};

/** Native. */
struct config_fec {
	int mode;	  /* enum config_fec_mode: of what is sent */
	int data, parity; /* with CONFIG_FEC_FIXED */
	int max_overhead_percent;
	int group_timeout_ms;
};

struct config_session {
	int keepalive_ms; /* CONFIG_AUTO, CONFIG_OFF or milliseconds; see config_keepalive_ms() */
	int dead_after_ms;
	bool roaming;	 /* false: the peer's address is pinned; native */
	bool persistent; /* false: gives up while nothing waits */
};

/** Bits of what was written in the files, by index into config_schema_rows(). */
struct config_given {
	uint64_t bits[2];
};

struct config_peer {
	char *name;
	bool enabled;
	bool runtime;			      /* of the overlay, not of a file */
	uint8_t public_key[CONFIG_KEY_BYTES]; /* zeros on the kcp-go wire */
	char *public_key_text;		      /* base64; NULL on the kcp-go wire */
	char *preshared_key_file;	      /* as struct config_identity says; NULL = none */
	const uint8_t *preshared_key;	      /* the same */
	struct config_endpoints endpoints;    /* empty: the peer calls us */
	struct config_cidrs allowed_ips;      /* host bits cleared, each once */
	struct config_transport transport;    /* own values, else those of the network */
	struct config_fec fec;		      /* the same */
	struct config_session session; /* the same; persistent by default if it has endpoints */
	struct config_given given;
};

struct config_kcp_go {
	char *key; /* the password: inline or the first line of key_file; NULL if key files were
		      not to be read. Secret: never print it. */
	char *key_file;		    /* absolute, NULL = inline */
	char *crypt;		    /* kcptun's name of the cipher */
	int mode;		    /* enum config_kcp_mode */
	int datashard, parityshard; /* one of them 0 = no FEC */
	int mtu;		    /* bytes of UDP payload */
	int sndwnd, rcvwnd;	    /* packets, upper bounds */
	int64_t conv;		    /* 0 .. 2^32-1, or CONFIG_RANDOM */
	bool allow_unauthenticated;
};

/**
 * Who we are on the native wire. Key files are absolute paths or "credential:NAME". Keys are
 * CONFIG_KEY_BYTES raw bytes each in locked memory of the configuration, wiped with it, and NULL if they
 * were not given, or if key files were not to be read. Secret: never print them.
 */
struct config_identity {
	char *private_key_file;
	char *network_key_file;
	const uint8_t *private_key;
	const uint8_t *network_key;
	/* The public half of private_key, filled by reader->public_half or config_set_public_key(). */
	uint8_t public_key[CONFIG_KEY_BYTES];
	char public_key_text[CONFIG_KEY_TEXT_BYTES]; /* base64; "" = not known */
};

struct config_secrets;

struct config {
	char *file; /* as it was opened */
	char *name; /* the network: identity.name, else the file's base name without .yaml */
	int version;
	struct config_strings include; /* patterns as written */
	struct config_identity identity;
	struct {
		char *name;
		struct config_cidrs addresses; /* host bits kept */
		int mtu;		       /* CONFIG_AUTO or bytes, as configured */
		int mtu_bytes; /* what holds: configured, or derived from the wire; on the native
				  wire with CONFIG_AUTO where it begins, before the path was probed */
		int queues;    /* CONFIG_AUTO or 1..16 */
		bool offload;
		char *netns; /* where the device lives: a name or an absolute path; NULL = here */
	} interface;
	struct config_listen listen; /* empty = any port */
	int64_t fwmark;		     /* CONFIG_AUTO or 0..2^32-1; see config_fwmark() */
	int wire;		     /* enum config_wire */
	struct config_kcp_go kcp_go;
	struct config_transport transport; /* of the network; peers hold what applies to them */
	struct config_fec fec;		   /* the same */
	struct config_session session;
	struct {
		int64_t table; /* CONFIG_AUTO, CONFIG_OFF, CONFIG_MAIN or 1..2^32-1 */
		int64_t metric;
		int protocol;	    /* rtm_protocol, 1..255 */
		int selection;	    /* enum config_selection */
		int ingress_filter; /* enum config_ingress_filter */
		int on_clash;	    /* enum config_clash */
	} routes;
	struct {
		int mode;		      /* enum config_full_tunnel */
		struct config_strings exempt; /* "lan" and prefixes; see config_exempt_prefix() */
	} full_tunnel;
	struct {
		struct config_strings servers; /* see config_dns_server() */
		struct config_strings
			search; /* "example.net"; "~example.net" = asked for, not tried */
	} dns;
	struct config_strings hooks[CONFIG_HOOKS]; /* program and arguments; empty = none */
	struct {
		char *group;	   /* may read */
		char *admin_group; /* may write */
	} control;
	struct {
		int level;  /* enum log_level */
		int format; /* enum config_log_format */
	} log;
	struct config_peer *peers; /* in the order of the files */
	size_t peer_count;
	struct config_given given;
	struct config_secrets *secrets; /* where the keys lie; NULL = none */
};

/**
 * Reads a network's file and those it includes, and checks everything.
 *
 * @reader      NULL = config_reader_default()
 * @ret_config  untouched on failure; freed by config_free()
 * @report      emptied first; holds errors (then the result is -ERR_CONFIG) and warnings
 * @return      0; -ERR_CONFIG if the report has errors (report->read_error tells a file that could
 *              not be read, as -EACCES); -ENOMEM
 */
int config_load(const char *path, const struct config_reader *reader, struct config **ret_config,
	struct config_report *report);

/**
 * The same for a text at hand.
 *
 * @path    gives the network's name, the folder of relative paths, and the file name of messages
 * @reader  for includes and key files; NULL = no file is touched: nothing is included, key_file is
 *          not read
 */
int config_parse_text(const char *path, const char *text, size_t len,
	const struct config_reader *reader, struct config **ret_config,
	struct config_report *report);

/** Wipes all keys and leaves the rest: for who needs to know what is configured, but no secret. */
void config_forget_secrets(struct config *config);

/** Wipes keys and frees everything. NULL is fine. */
void config_free(struct config *config);

/**
 * Fills identity.public_key for who loaded without reader->public_half.
 *
 * @return  NULL, or the peer that has this key: a mistake, for it is the network's own
 */
const struct config_peer *config_set_public_key(
	struct config *config, const uint8_t public_key[CONFIG_KEY_BYTES]);

/** False if keys are held and the host refused to keep them out of swap: worth a warning. */
bool config_keys_locked(const struct config *config);

/** "/etc/vpnd/NAME.yaml", malloc'ed. @return 0; -EINVAL if `name` is no name; -ENOMEM */
int config_default_path(const char *name, char **ret_path);

/** True for names of networks and peers: 1..63 of [A-Za-z0-9._-], not beginning with '.' or '-'. */
bool config_name_ok(const char *name);

/** @return the peer of that name, or NULL */
const struct config_peer *config_peer_find(const struct config *config, const char *name);

/** The payload of one KCP segment, which is the largest inner packet; 0 or less if none fits. */
int config_kcp_go_mss(const struct config_kcp_go *kcp_go);

/**
 * What session.keepalive means on a wire.
 *
 * @return  milliseconds, 0 = none (on the native wire `auto` is decided by the session: 0 here)
 */
int config_keepalive_ms(const struct config_session *session, enum config_wire wire);

/** The mark of outer packets: as configured, else one of the network's own where full_tunnel needs it. 0 = none */
uint32_t config_fwmark(const struct config *config);

/**
 * A number of the network's own, from its name: the same after a restart, so that what was left behind is known again.
 * It is the routing table of the full tunnel, and the mark by default.
 */
uint32_t config_tunnel_number(const struct config *config);

/** Whether what is on the link stays outside the full tunnel. */
bool config_exempts_lan(const struct config *config);

/** @return false if this item of full_tunnel.exempt is no prefix */
bool config_exempt_prefix(const struct config *config, size_t index, struct ip_prefix *ret_prefix);

/** Reads one of dns.servers; its port is 0 if none was given. @return false if it is none */
bool config_dns_server(
	const struct config *config, size_t index, struct kcpvpn_endpoint *ret_server);

/** True if only the names under dns.search are asked inside the tunnel, and all others as before. */
bool config_dns_is_split(const struct config *config);

/**
 * The table where a route to a destination of a peer goes. With a full tunnel the default routes have one of their own,
 * and so have all with a kill switch, or if nothing local comes before them.
 */
uint32_t config_route_table(const struct config *config, const struct ip_prefix *destination);

/** True if the addresses of the interface cover it, so that the kernel has the route already. */
bool config_route_is_covered(const struct config *config, const struct ip_prefix *destination);

/** "pre_up", "up", ... Static. */
const char *config_hook_str(enum config_hook hook);

/** "NAME-PEER", cut to what an interface's name may be: the device of one peer. */
void config_peer_device(
	const struct config *config, const char *peer, char ret_name[CONFIG_DEVICE_MAX + 1]);

/** Parses "host:port" or "[v6]:port" into a malloc'ed host and a port. @return 0, -EINVAL, -ENOMEM */
int config_endpoint_parse(const char *text, struct config_endpoint *ret_endpoint);

/**
 * Writes a configuration as YAML that config_load() accepts. Secrets are written as "(hidden)",
 * which it refuses.
 *
 * @effective  true: every value that holds, with defaults and what peers inherit; false: what was
 *             written, includes merged
 * @ret_text   the caller frees it
 * @return     0 or -ENOMEM
 */
int config_show(const struct config *config, bool effective, char **ret_text);

/** What messages call the overlay. */
#define CONFIG_OVERLAY_FILE "(peers given at run time)"

/** A peer to be written. Strings are lent. */
struct config_draft {
	const char *name;
	const char *public_key;		/* "" or NULL = none */
	const char *preshared_key_file; /* NULL = none */
	const char *const *endpoints;
	size_t endpoint_count;
	const char *const *allowed_ips;
	size_t allowed_ip_count;
};

/**
 * Writes peers as a file for peers.d, or an overlay. Whatever the texts hold, they come back as these texts: nothing in them
 * can make another key of it.
 *
 * @ret_text  the caller frees it
 * @return    0 or -ENOMEM
 */
int config_peers_write(const struct config_draft *drafts, size_t count, char **ret_text);

/**
 * The same as JSON, one object: keys as in the file, durations and addresses as texts.
 *
 * @return  0 or -ENOMEM
 */
int config_show_json(const struct config *config, bool effective, char **ret_text);

/** What a reload changes for a peer; flags. */
enum config_peer_effect {
	CONFIG_PEER_ENDPOINTS = 1 << 0,
	CONFIG_PEER_ALLOWED_IPS = 1 << 1,
	CONFIG_PEER_ENABLED = 1 << 2,
	CONFIG_PEER_SESSION = 1 << 3,	/* session.*: times and persistence, applied live */
	CONFIG_PEER_TRANSPORT = 1 << 4, /* transport.*, fec.*: applied live */
	CONFIG_PEER_KEYS = 1 << 5,	/* public_key, the preshared key: its session starts anew */
};

struct config_peer_change {
	const struct config_peer *before; /* NULL = added */
	const struct config_peer *after;  /* NULL = removed */
	unsigned effects;		  /* enum config_peer_effect, 0 if added or removed */
	char *text;			  /* "branch-2: allowed_ips 10.42.0.0/16 -> 10.42.0.0/15" */
};

struct config_change {
	const struct config_row *row;
	unsigned effects; /* enum config_effect */
	char *text;	  /* "transport.queue: 300ms -> 200ms"; secrets as "changed" */
};

/** Lends peers of both configurations: free it before them. */
struct config_diff {
	struct config_peer_change
		*peers; /* changed ones only, in the order of the new file, removed
					     ones last */
	size_t peer_count;
	size_t added, removed, changed; /* sum: peer_count */
	struct config_change *globals;
	size_t global_count;
	unsigned effects; /* of all globals; LINK also if a derived MTU changes */
};

/** @return 0 or -ENOMEM; `ret_diff` is to be given to config_diff_fini() on success only */
int config_diff(
	const struct config *before, const struct config *after, struct config_diff *ret_diff);

void config_diff_fini(struct config_diff *diff);

#endif
