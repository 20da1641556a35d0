/*
 * Policy rules alone do not hold everybody: where no route is found, IPv4 takes the destination of a socket that is bound to
 * a device for a neighbour on that device's link, and no rule can forbid that. Resolvers bind their sockets so. This table is
 * what holds them, and so it is the first line of a kill switch, and the rules are the second. It looks at what leaves
 * behind routing (postrouting), where host and forwarded packets pass alike:
 *
 *      mark M, or out by lo or the tunnel's device       accept
 *      to what the administrator exempts                 accept
 *      DHCP to its servers, neighbour discovery, MLD     accept: without them the outer link itself would go
 *      udp 53 and 853, tcp 53 and 853                    drop
 *      to the LAN                                        accept
 *      the rest                                          drop
 *
 * The tunnel's device is told by its number: a name may be given to another one.
 *
 * What is forwarded for others is held alike: a gateway whose clients ask a resolver of the LAN leaks their names, not its
 * own. Where bridges hand their packets to the filter of IP (br_netfilter), those of guests on a bridge pass here, too.
 *
 * Marks: the reverse path filter of IPv4 (rp_filter=1) asks for each packet that comes in whether its sender would be reached
 * by the same device. With a full tunnel that is the tunnel's device, unless the question carries mark M. So what comes in
 * to a socket of the tunnel, found as the kernel finds it, gets the mark of that socket, before anything else looks
 * (prerouting); and src_valid_mark lets the question carry it (full_tunnel_answers.c).
 *
 * The whole is one transaction of nf_tables: the table is made (so that it is there), deleted and made anew; whoever looks
 * sees the old or the new one. Only its last message asks to be acknowledged: errors are told in any case, and hundreds of
 * acknowledgements would overrun the socket, whose owner then does not know what came of it. Messages are built with libnl
 * by hand; a library for it, or a program that takes text, would be one more thing that may be missing on the day that
 * counts.
 *
 * Others may take the table away, mostly without knowing: `nft flush ruleset` stands at the begin of many a host's own
 * rules. The kernel tells who listens of each change; those with the own socket's number are one's own.
 *
 * Sources: Linux, include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nfnetlink.c, nf_tables_api.c, nft_socket.c,
 * net/ipv4/fib_frontend.c; nft --debug=netlink; RFC 4861, 2131, 8415.
 */
#include "vpnd/netlink_guard.h"

#include "vpnd/fault.h"
#include "vpnd/netlink_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BATCH_BYTES = 1 << 20,
	TRIES = 2,
	WATCH_BUFFER_BYTES = 1 << 20,
	PRIORITY_IN =
		-350, /* behind the defragmenting of others, in front of all that asks for routes */
	OFFSET_DADDR4 = 16,
	OFFSET_DADDR6 = 24,
	OFFSET_HOP_LIMIT = 7,
	OFFSET_PORTS = 0,
	OFFSET_DPORT = 2,
	HOP_LIMIT_ON_LINK = 255, /* cannot have passed a router */
	ICMP6_MLD_FIRST = 130,	 /* query; report, done */
	ICMP6_MLD_LAST = 132,
	ICMP6_ND_FIRST = 133, /* router solicitation */
	ICMP6_ND_LAST = 136,  /* neighbour advertisement */
	ICMP6_MLD2 = 143,
	PORT_DNS = 53,
	PORT_DNS_CRYPT = 853, /* TLS, QUIC */
};

static const char CHAIN_OUT[] = "out", CHAIN_IN[] = "in";

struct batch {
	uint8_t *bytes;
	size_t len;
	uint32_t first, sequence; /* of its messages: the first, the latest */
	size_t latest;		  /* where that begins */
	bool failed;
	const struct netlink_guard *guard;
	const char *chain; /* that rules are appended to */
	struct nl_msg *rule;
	struct nlattr *expressions;
};

/* ---- messages --------------------------------------------------------------------------------------------------- */

static struct nl_msg *begin(struct batch *batch, int type, int flags, uint8_t family, uint16_t id)
{
	struct nfgenmsg body = {
		.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(id)};
	struct nl_msg *message = nlmsg_alloc_size(8192);
	struct nlmsghdr *header =
		message ? nlmsg_put(message, 0, ++batch->sequence, type, 0, NLM_F_REQUEST | flags)
			: NULL;

	if (!header || nlmsg_append(message, &body, sizeof(body), NLMSG_ALIGNTO) < 0)
		batch->failed = true;
	return message;
}

/* Takes the message. */
static void end(struct batch *batch, struct nl_msg *message)
{
	size_t len = message ? nlmsg_hdr(message)->nlmsg_len : 0;

	if (batch->failed || len > BATCH_BYTES - batch->len) {
		batch->failed = true;
	} else {
		memcpy(batch->bytes + batch->len, nlmsg_hdr(message), len);
		batch->latest = batch->len;
		batch->len += NLMSG_ALIGN(len);
	}
	nlmsg_free(message);
}

static void put_text(struct batch *batch, struct nl_msg *message, int type, const char *text)
{
	if (!batch->failed && nla_put_string(message, type, text) < 0)
		batch->failed = true;
}

static void put_number(struct batch *batch, struct nl_msg *message, int type, uint32_t value)
{
	if (!batch->failed && nla_put_u32(message, type, htonl(value)) < 0)
		batch->failed = true;
}

static struct nlattr *nest(struct batch *batch, struct nl_msg *message, int type)
{
	struct nlattr *attribute = batch->failed ? NULL : nla_nest_start(message, type);

	if (!attribute)
		batch->failed = true;
	return attribute;
}

static void unnest(struct batch *batch, struct nl_msg *message, struct nlattr *attribute)
{
	if (!batch->failed)
		(void)nla_nest_end(message, attribute);
}

static void put_table(struct batch *batch, const char *table, int type, int flags)
{
	struct nl_msg *message =
		begin(batch, NFNL_SUBSYS_NFTABLES << 8 | type, flags, NFPROTO_INET, 0);

	put_text(batch, message, NFTA_TABLE_NAME, table);
	end(batch, message);
}

static void put_mark(struct batch *batch, int type)
{
	end(batch, begin(batch, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

static void put_chain(struct batch *batch, const char *name, uint32_t hook, int32_t priority)
{
	struct nl_msg *message = begin(
		batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET, 0);

	put_text(batch, message, NFTA_CHAIN_TABLE, batch->guard->table);
	put_text(batch, message, NFTA_CHAIN_NAME, name);
	struct nlattr *place = nest(batch, message, NFTA_CHAIN_HOOK);
	put_number(batch, message, NFTA_HOOK_HOOKNUM, hook);
	put_number(batch, message, NFTA_HOOK_PRIORITY, (uint32_t)priority);
	unnest(batch, message, place);
	put_number(batch, message, NFTA_CHAIN_POLICY, NF_ACCEPT);
	put_text(batch, message, NFTA_CHAIN_TYPE, "filter");
	end(batch, message);
	batch->chain = name;
}

/* ---- rules ------------------------------------------------------------------------------------------------------ */

static void begin_rule(struct batch *batch)
{
	batch->rule = begin(batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE,
		NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET, 0);
	put_text(batch, batch->rule, NFTA_RULE_TABLE, batch->guard->table);
	put_text(batch, batch->rule, NFTA_RULE_CHAIN, batch->chain);
	batch->expressions = nest(batch, batch->rule, NFTA_RULE_EXPRESSIONS);
}

struct expression {
	struct nlattr *element, *data;
};

static struct expression begin_expression(struct batch *batch, const char *name)
{
	struct expression e = {.element = nest(batch, batch->rule, NFTA_LIST_ELEM)};

	put_text(batch, batch->rule, NFTA_EXPR_NAME, name);
	e.data = nest(batch, batch->rule, NFTA_EXPR_DATA);
	return e;
}

static void end_expression(struct batch *batch, struct expression e)
{
	unnest(batch, batch->rule, e.data);
	unnest(batch, batch->rule, e.element);
}

static void load_meta(struct batch *batch, uint32_t key)
{
	struct expression e = begin_expression(batch, "meta");

	put_number(batch, batch->rule, NFTA_META_DREG, NFT_REG_1);
	put_number(batch, batch->rule, NFTA_META_KEY, key);
	end_expression(batch, e);
}

static void load_payload(struct batch *batch, uint32_t base, uint32_t offset, uint32_t len)
{
	struct expression e = begin_expression(batch, "payload");

	put_number(batch, batch->rule, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_number(batch, batch->rule, NFTA_PAYLOAD_BASE, base);
	put_number(batch, batch->rule, NFTA_PAYLOAD_OFFSET, offset);
	put_number(batch, batch->rule, NFTA_PAYLOAD_LEN, len);
	end_expression(batch, e);
}

static void put_value(struct batch *batch, int type, const void *value, size_t len)
{
	struct nlattr *data = nest(batch, batch->rule, type);

	if (!batch->failed && nla_put(batch->rule, NFTA_DATA_VALUE, (int)len, value) < 0)
		batch->failed = true;
	unnest(batch, batch->rule, data);
}

static void compare(struct batch *batch, uint32_t how, const void *value, size_t len)
{
	struct expression e = begin_expression(batch, "cmp");

	put_number(batch, batch->rule, NFTA_CMP_SREG, NFT_REG_1);
	put_number(batch, batch->rule, NFTA_CMP_OP, how);
	put_value(batch, NFTA_CMP_DATA, value, len);
	end_expression(batch, e);
}

static void compare_byte(struct batch *batch, uint32_t how, uint8_t value)
{
	compare(batch, how, &value, 1);
}

static void mask(struct batch *batch, const uint8_t *bits, size_t len)
{
	static const uint8_t zero[16];
	struct expression e = begin_expression(batch, "bitwise");

	put_number(batch, batch->rule, NFTA_BITWISE_SREG, NFT_REG_1);
	put_number(batch, batch->rule, NFTA_BITWISE_DREG, NFT_REG_1);
	put_number(batch, batch->rule, NFTA_BITWISE_LEN, (uint32_t)len);
	put_value(batch, NFTA_BITWISE_MASK, bits, len);
	put_value(batch, NFTA_BITWISE_XOR, zero, len);
	end_expression(batch, e);
}

/* Without a verdict: the next rule is looked at. */
static void end_rule(struct batch *batch)
{
	unnest(batch, batch->rule, batch->expressions);
	end(batch, batch->rule);
	batch->rule = NULL;
}

static void end_verdict(struct batch *batch, uint32_t verdict)
{
	struct expression e = begin_expression(batch, "immediate");

	put_number(batch, batch->rule, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	struct nlattr *data = nest(batch, batch->rule, NFTA_IMMEDIATE_DATA);
	struct nlattr *code = nest(batch, batch->rule, NFTA_DATA_VERDICT);
	put_number(batch, batch->rule, NFTA_VERDICT_CODE, verdict);
	unnest(batch, batch->rule, code);
	unnest(batch, batch->rule, data);
	end_expression(batch, e);
	end_rule(batch);
}

/* ---- what is let through ---------------------------------------------------------------------------------------- */

static void match_number(struct batch *batch, uint32_t key, uint32_t value)
{
	load_meta(batch, key);
	compare(batch, NFT_CMP_EQ, &value, sizeof(value));
}

static void match_protocol(struct batch *batch, uint8_t protocol)
{
	load_meta(batch, NFT_META_L4PROTO);
	compare_byte(batch, NFT_CMP_EQ, protocol);
}

static void match_destination(struct batch *batch, const struct ip_prefix *prefix)
{
	bool v4 = prefix->family == 4;
	size_t len = v4 ? 4 : 16;
	struct ip_prefix bits = *prefix, all = *prefix;

	ip_prefix_mask(&bits);
	memset(all.address, 0xff, sizeof(all.address));
	ip_prefix_mask(&all);
	load_meta(batch, NFT_META_NFPROTO);
	compare_byte(batch, NFT_CMP_EQ, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
	load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, v4 ? OFFSET_DADDR4 : OFFSET_DADDR6,
		(uint32_t)len);
	mask(batch, all.address, len);
	compare(batch, NFT_CMP_EQ, bits.address, len);
}

static void match_destination_text(struct batch *batch, const char *text)
{
	struct ip_prefix prefix;

	(void)ip_prefix_parse(text, &prefix);
	match_destination(batch, &prefix);
}

static void match_ports(struct batch *batch, uint16_t source, uint16_t destination)
{
	const uint16_t ports[] = {htons(source), htons(destination)};

	load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_PORTS, sizeof(ports));
	compare(batch, NFT_CMP_EQ, ports, sizeof(ports));
}

static void match_icmp6(struct batch *batch, uint8_t first, uint8_t last)
{
	match_protocol(batch, IPPROTO_ICMPV6);
	load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
	compare_byte(batch, NFT_CMP_GTE, first);
	compare_byte(batch, NFT_CMP_LTE, last);
}

static void accept_prefix(struct batch *batch, const struct ip_prefix *prefix)
{
	begin_rule(batch);
	match_destination(batch, prefix);
	end_verdict(batch, NF_ACCEPT);
}

static void drop_port(struct batch *batch, uint8_t protocol, uint16_t port)
{
	uint16_t port_be = htons(port);

	begin_rule(batch);
	match_protocol(batch, protocol);
	load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_DPORT, sizeof(port_be));
	compare(batch, NFT_CMP_EQ, &port_be, sizeof(port_be));
	end_verdict(batch, NF_DROP);
}

static void accept_loopback(struct batch *batch)
{
	static const char LOOPBACK[16] = "lo"; /* as the kernel has it */

	begin_rule(batch);
	load_meta(batch, NFT_META_OIFNAME);
	compare(batch, NFT_CMP_EQ, LOOPBACK, sizeof(LOOPBACK));
	end_verdict(batch, NF_ACCEPT);
}

/*
 * What the outer link lives by. DHCP from the port that takes rights to have; DHCPv6 to its group, or to a server that told its
 * address, on the link. Neighbour discovery cannot come from or go behind a router; listeners are reported to groups of the
 * link.
 */
static void accept_link(struct batch *batch)
{
	const uint8_t hop_limit = HOP_LIMIT_ON_LINK;

	begin_rule(batch);
	load_meta(batch, NFT_META_NFPROTO);
	compare_byte(batch, NFT_CMP_EQ, NFPROTO_IPV4);
	match_protocol(batch, IPPROTO_UDP);
	match_ports(batch, 68, 67);
	end_verdict(batch, NF_ACCEPT);
	static const char *const SERVERS[] = {"ff02::1:2/128", "fe80::/10"};
	for (size_t i = 0; i < 2; i++) {
		begin_rule(batch);
		match_destination_text(batch, SERVERS[i]);
		match_protocol(batch, IPPROTO_UDP);
		match_ports(batch, 546, 547);
		end_verdict(batch, NF_ACCEPT);
	}
	begin_rule(batch);
	match_icmp6(batch, ICMP6_ND_FIRST, ICMP6_ND_LAST);
	load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_HOP_LIMIT, sizeof(hop_limit));
	compare_byte(batch, NFT_CMP_EQ, hop_limit);
	end_verdict(batch, NF_ACCEPT);
	static const uint8_t LISTENERS[][2] = {
		{ICMP6_MLD_FIRST, ICMP6_MLD_LAST}, {ICMP6_MLD2, ICMP6_MLD2}};
	for (size_t i = 0; i < 2; i++) {
		begin_rule(batch);
		match_destination_text(batch, "ff02::/16");
		match_icmp6(batch, LISTENERS[i][0], LISTENERS[i][1]);
		end_verdict(batch, NF_ACCEPT);
	}
}

static void put_out(struct batch *batch)
{
	const struct netlink_guard *guard = batch->guard;

	put_chain(batch, CHAIN_OUT, NF_INET_POST_ROUTING, 0);
	begin_rule(batch);
	match_number(batch, NFT_META_MARK, guard->fwmark);
	end_verdict(batch, NF_ACCEPT);
	accept_loopback(batch);
	if (guard->ifindex > 0) {
		begin_rule(batch);
		match_number(batch, NFT_META_OIF, (uint32_t)guard->ifindex);
		end_verdict(batch, NF_ACCEPT);
	}
	for (size_t i = 0; i < guard->exempt_count; i++)
		accept_prefix(batch, &guard->exempt[i]);
	accept_link(batch);
	drop_port(batch, IPPROTO_UDP, PORT_DNS);
	drop_port(batch, IPPROTO_TCP, PORT_DNS);
	drop_port(batch, IPPROTO_UDP, PORT_DNS_CRYPT);
	drop_port(batch, IPPROTO_TCP, PORT_DNS_CRYPT);
	for (size_t i = 0; i < guard->lan_count; i++)
		accept_prefix(batch, &guard->lan[i]);
	begin_rule(batch);
	end_verdict(batch, NF_DROP);
}

static void put_in(struct batch *batch)
{
	put_chain(batch, CHAIN_IN, NF_INET_PRE_ROUTING, PRIORITY_IN);
	begin_rule(batch);
	match_protocol(batch, IPPROTO_UDP);
	struct expression e = begin_expression(batch, "socket");
	put_number(batch, batch->rule, NFTA_SOCKET_KEY, NFT_SOCKET_MARK);
	put_number(batch, batch->rule, NFTA_SOCKET_DREG, NFT_REG_1);
	end_expression(batch, e);
	compare(batch, NFT_CMP_EQ, &batch->guard->fwmark, sizeof(batch->guard->fwmark));
	e = begin_expression(batch, "meta");
	put_number(batch, batch->rule, NFTA_META_KEY, NFT_META_MARK);
	put_number(batch, batch->rule, NFTA_META_SREG, NFT_REG_1);
	end_expression(batch, e);
	end_rule(batch);
}

/* ---- the transaction -------------------------------------------------------------------------------------------- */

/* @return 0 once the last message is acknowledged; the error of any; -ETIME; -ENOBUFS: answers were lost */
static int read_answer(int fd, const struct batch *batch)
{
	union {
		struct nlmsghdr header;
		uint8_t bytes[8192];
	} buffer;

	for (;;) {
		ssize_t got = recv(fd, &buffer, sizeof(buffer), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? -ETIME : -errno;
		struct nlmsghdr *header = &buffer.header;
		for (int left = (int)got; nlmsg_ok(header, left);
			header = nlmsg_next(header, &left)) {
			const struct nlmsgerr *error = nlmsg_data(header);
			/* of a batch before, whose answer was given up */
			if (header->nlmsg_seq - batch->first > batch->sequence - batch->first)
				continue;
			if (header->nlmsg_type != NLMSG_ERROR ||
				nlmsg_datalen(header) < (int)sizeof(*error))
				continue;
			if (error->error || header->nlmsg_seq == batch->sequence)
				return error->error;
		}
	}
}

/* A socket of its own kind, opened at the first use, by whose number own changes are known. */
static int open_socket(struct netlink *netlink)
{
	const struct timeval wait = {1, 0};
	struct sockaddr_nl own = {.nl_family = AF_NETLINK};
	socklen_t len = sizeof(own);
	int bytes = 2 * BATCH_BYTES, one = 1;

	if (netlink->filter_fd >= 0)
		return 0;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0 ||
		getsockname(fd, (struct sockaddr *)&own, &len) < 0) {
		int error = -errno;
		close(fd);
		return error;
	}
	netlink->filter_fd = fd;
	netlink->filter_port = own.nl_pid;
	return 0;
}

static void begin_batch(struct batch *batch, struct netlink *netlink)
{
	batch->sequence = netlink->filter_sequence;
	batch->first = batch->sequence + 1;
	put_mark(batch, NFNL_MSG_BATCH_BEGIN);
}

/* Only the last of its messages is to be acknowledged. */
static void end_batch(struct batch *batch, struct netlink *netlink)
{
	uint32_t last = batch->sequence;
	size_t at = batch->latest;

	put_mark(batch, NFNL_MSG_BATCH_END);
	netlink->filter_sequence = batch->sequence;
	batch->sequence = last;
	if (!batch->failed) {
		struct nlmsghdr header;
		memcpy(&header, batch->bytes + at, sizeof(header));
		header.nlmsg_flags |= NLM_F_ACK;
		memcpy(batch->bytes + at, &header, sizeof(header));
	}
}

static int send_batch(struct netlink *netlink, const struct batch *batch)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int error = batch->failed ? -ENOMEM : 0;

	/* Twice the same is the same: that is how to learn what came of it when the answer was lost. */
	for (int i = 0; i < TRIES && (i == 0 ? !error : error == -ENOBUFS); i++) {
		error = sendto(netlink->filter_fd, batch->bytes, batch->len, 0,
				(const struct sockaddr *)&kernel, sizeof(kernel)) < 0
				? -errno
				: read_answer(netlink->filter_fd, batch);
	}
	return error;
}

static int failed(int err, const char *what, struct fault *fault)
{
	return fault_set(fault, err == -EPIPE || err == -ETIMEDOUT ? -EIO : err, "E-NET-11",
		"it takes the kernel's nf_tables (modprobe nf_tables)",
		"cannot %s the packet filter of the full tunnel: %s", what, strerror(-err));
}

int netlink_guard_set(
	struct netlink *netlink, const struct netlink_guard *guard, struct fault *fault)
{
	struct batch batch = {.bytes = malloc(BATCH_BYTES), .guard = guard};
	int error = batch.bytes ? open_socket(netlink) : -ENOMEM;

	if (!error) {
		begin_batch(&batch, netlink);
		put_table(&batch, guard->table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
		put_table(&batch, guard->table, NFT_MSG_DELTABLE, 0);
		put_table(&batch, guard->table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
		if (guard->marks)
			put_in(&batch);
		if (guard->holds)
			put_out(&batch);
		end_batch(&batch, netlink);
		error = send_batch(netlink, &batch);
	}
	free(batch.bytes);
	return error ? failed(error, "put up", fault) : 0;
}

int netlink_guard_remove(struct netlink *netlink, const char *table, struct fault *fault)
{
	struct batch batch = {.bytes = malloc(BATCH_BYTES)};
	int error = batch.bytes ? open_socket(netlink) : -ENOMEM;

	if (!error) {
		begin_batch(&batch, netlink);
		put_table(&batch, table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
		put_table(&batch, table, NFT_MSG_DELTABLE, 0);
		end_batch(&batch, netlink);
		error = send_batch(netlink, &batch);
	}
	free(batch.bytes);
	return error ? failed(error, "remove", fault) : 0;
}
