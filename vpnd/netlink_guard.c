/*
 * Policy rules alone do not hold everybody: where no route is found, IPv4 takes the destination of a socket that is bound to
 * a device for a neighbour on that device's link. Resolvers bind their sockets so. What leaves is therefore looked at once
 * more, behind routing (postrouting), where host and forwarded packets pass alike:
 *
 *      mark M, or out by lo or the tunnel's device       accept
 *      to what the administrator exempts                 accept
 *      DHCP, neighbour discovery                         accept: without them the outer link itself would go
 *      udp 53, tcp 53 and 853                            drop
 *      to the LAN                                        accept
 *      the rest                                          drop
 *
 * The whole is one transaction of nf_tables: the table is made (so that it is there), deleted and made anew; whoever looks
 * sees the old or the new one. Messages are built with libnl by hand; a library for it, or a program that takes text, would
 * be one more thing that may be missing on the day that counts.
 *
 * Sources: Linux, include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nfnetlink.c; nft --debug=netlink.
 */
#include "vpnd/netlink_guard.h"

#include "vpnd/fault.h"

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
	BATCH_BYTES = 512 << 10,
	ANSWER_MS = 1000,
	OFFSET_DADDR4 = 16,
	OFFSET_DADDR6 = 24,
	OFFSET_DPORT = 2,
	ICMP6_ND_FIRST = 133, /* router solicitation */
	ICMP6_ND_LAST = 136,  /* neighbour advertisement */
	ICMP6_MLD2 = 143,
};

static const char CHAIN[] = "out";

struct batch {
	uint8_t *bytes;
	size_t len;
	uint32_t sequence;
	uint32_t awaited; /* the message whose acknowledgement is the transaction's */
	bool failed;
	const struct netlink_guard *guard;
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
	if (flags & NLM_F_ACK)
		batch->awaited = batch->sequence;
	end(batch, message);
}

static void put_mark(struct batch *batch, int type)
{
	end(batch, begin(batch, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

static void put_chain(struct batch *batch)
{
	struct nl_msg *message = begin(
		batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET, 0);

	put_text(batch, message, NFTA_CHAIN_TABLE, batch->guard->table);
	put_text(batch, message, NFTA_CHAIN_NAME, CHAIN);
	struct nlattr *hook = nest(batch, message, NFTA_CHAIN_HOOK);
	put_number(batch, message, NFTA_HOOK_HOOKNUM, NF_INET_POST_ROUTING);
	put_number(batch, message, NFTA_HOOK_PRIORITY, 0);
	unnest(batch, message, hook);
	put_number(batch, message, NFTA_CHAIN_POLICY, NF_ACCEPT);
	put_text(batch, message, NFTA_CHAIN_TYPE, "filter");
	end(batch, message);
}

/* ---- rules ------------------------------------------------------------------------------------------------------ */

static void begin_rule(struct batch *batch)
{
	batch->rule = begin(batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE,
		NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, NFPROTO_INET, 0);
	batch->awaited = batch->sequence;
	put_text(batch, batch->rule, NFTA_RULE_TABLE, batch->guard->table);
	put_text(batch, batch->rule, NFTA_RULE_CHAIN, CHAIN);
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

static void end_rule(struct batch *batch, uint32_t verdict)
{
	struct expression e = begin_expression(batch, "immediate");

	put_number(batch, batch->rule, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	struct nlattr *data = nest(batch, batch->rule, NFTA_IMMEDIATE_DATA);
	struct nlattr *code = nest(batch, batch->rule, NFTA_DATA_VERDICT);
	put_number(batch, batch->rule, NFTA_VERDICT_CODE, verdict);
	unnest(batch, batch->rule, code);
	unnest(batch, batch->rule, data);
	end_expression(batch, e);
	unnest(batch, batch->rule, batch->expressions);
	end(batch, batch->rule);
	batch->rule = NULL;
}

/* ---- what is let through ---------------------------------------------------------------------------------------- */

static void accept_mark(struct batch *batch)
{
	begin_rule(batch);
	load_meta(batch, NFT_META_MARK);
	compare(batch, NFT_CMP_EQ, &batch->guard->fwmark, sizeof(batch->guard->fwmark));
	end_rule(batch, NF_ACCEPT);
}

static void accept_device(struct batch *batch, const char *name)
{
	char padded[16] = {0}; /* as the kernel has it */

	memcpy(padded, name, strnlen(name, sizeof(padded) - 1));
	begin_rule(batch);
	load_meta(batch, NFT_META_OIFNAME);
	compare(batch, NFT_CMP_EQ, padded, sizeof(padded));
	end_rule(batch, NF_ACCEPT);
}

static void accept_prefix(struct batch *batch, const struct ip_prefix *prefix)
{
	bool v4 = prefix->family == 4;
	size_t len = v4 ? 4 : 16;
	struct ip_prefix bits = *prefix, all = *prefix;

	ip_prefix_mask(&bits);
	memset(all.address, 0xff, sizeof(all.address));
	ip_prefix_mask(&all);
	begin_rule(batch);
	load_meta(batch, NFT_META_NFPROTO);
	compare_byte(batch, NFT_CMP_EQ, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
	load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, v4 ? OFFSET_DADDR4 : OFFSET_DADDR6,
		(uint32_t)len);
	mask(batch, all.address, len);
	compare(batch, NFT_CMP_EQ, bits.address, len);
	end_rule(batch, NF_ACCEPT);
}

static void judge_port(struct batch *batch, uint8_t protocol, uint16_t port, uint32_t verdict)
{
	uint16_t port_be = htons(port);

	begin_rule(batch);
	load_meta(batch, NFT_META_L4PROTO);
	compare_byte(batch, NFT_CMP_EQ, protocol);
	load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_DPORT, sizeof(port_be));
	compare(batch, NFT_CMP_EQ, &port_be, sizeof(port_be));
	end_rule(batch, verdict);
}

static void accept_icmp6(struct batch *batch, uint8_t first, uint8_t last)
{
	begin_rule(batch);
	load_meta(batch, NFT_META_L4PROTO);
	compare_byte(batch, NFT_CMP_EQ, IPPROTO_ICMPV6);
	load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
	compare_byte(batch, NFT_CMP_GTE, first);
	compare_byte(batch, NFT_CMP_LTE, last);
	end_rule(batch, NF_ACCEPT);
}

static void put_rules(struct batch *batch)
{
	const struct netlink_guard *guard = batch->guard;

	accept_mark(batch);
	accept_device(batch, "lo");
	accept_device(batch, guard->device);
	for (size_t i = 0; i < guard->exempt_count; i++)
		accept_prefix(batch, &guard->exempt[i]);
	judge_port(batch, IPPROTO_UDP, 67, NF_ACCEPT);
	judge_port(batch, IPPROTO_UDP, 547, NF_ACCEPT);
	accept_icmp6(batch, ICMP6_ND_FIRST, ICMP6_ND_LAST);
	accept_icmp6(batch, ICMP6_MLD2, ICMP6_MLD2);
	judge_port(batch, IPPROTO_UDP, 53, NF_DROP);
	judge_port(batch, IPPROTO_TCP, 53, NF_DROP);
	judge_port(batch, IPPROTO_TCP, 853, NF_DROP);
	for (size_t i = 0; i < guard->lan_count; i++)
		accept_prefix(batch, &guard->lan[i]);
	begin_rule(batch);
	end_rule(batch, NF_DROP);
}

/* ---- the transaction -------------------------------------------------------------------------------------------- */

/* @return 0 once the last message is acknowledged; the error of any other; -ETIME */
static int read_answer(int fd, const struct batch *batch)
{
	uint8_t bytes[8192];

	for (;;) {
		ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? -ETIME : -errno;
		struct nlmsghdr *header = (struct nlmsghdr *)(void *)bytes;
		for (int left = (int)got; nlmsg_ok(header, left);
			header = nlmsg_next(header, &left)) {
			const struct nlmsgerr *error = nlmsg_data(header);
			if (header->nlmsg_type != NLMSG_ERROR ||
				nlmsg_datalen(header) < (int)sizeof(*error))
				continue;
			if (error->error)
				return error->error;
			if (header->nlmsg_seq == batch->awaited)
				return 0;
		}
	}
}

static int send_batch(struct batch *batch)
{
	const struct timeval wait = {ANSWER_MS / 1000, 0};
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int bytes = 2 * BATCH_BYTES;

	if (batch->failed)
		return -ENOMEM;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	int error = 0;
	if (sendto(fd, batch->bytes, batch->len, 0, (const struct sockaddr *)&kernel,
		    sizeof(kernel)) < 0)
		error = -errno;
	else
		error = read_answer(fd, batch);
	close(fd);
	return error;
}

static int failed(int err, const char *what, struct fault *fault)
{
	return fault_set(fault, err == -EPIPE || err == -ETIMEDOUT ? -EIO : err, "E-NET-11",
		"a kill switch takes the kernel's nf_tables (modprobe nf_tables)",
		"cannot %s the packet filter of the kill switch: %s", what, strerror(-err));
}

int netlink_guard_set(const struct netlink_guard *guard, struct fault *fault)
{
	struct batch batch = {.bytes = malloc(BATCH_BYTES), .guard = guard};

	if (!batch.bytes)
		return failed(-ENOMEM, "put up", fault);
	put_mark(&batch, NFNL_MSG_BATCH_BEGIN);
	put_table(&batch, guard->table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	put_table(&batch, guard->table, NFT_MSG_DELTABLE, 0);
	put_table(&batch, guard->table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	put_chain(&batch);
	put_rules(&batch);
	put_mark(&batch, NFNL_MSG_BATCH_END);
	int error = send_batch(&batch);
	free(batch.bytes);
	return error ? failed(error, "put up", fault) : 0;
}

int netlink_guard_remove(const char *table, struct fault *fault)
{
	struct batch batch = {.bytes = malloc(BATCH_BYTES)};
	if (!batch.bytes)
		return failed(-ENOMEM, "remove", fault);
	put_mark(&batch, NFNL_MSG_BATCH_BEGIN);
	put_table(&batch, table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	put_table(&batch, table, NFT_MSG_DELTABLE, NLM_F_ACK);
	put_mark(&batch, NFNL_MSG_BATCH_END);
	int error = send_batch(&batch);
	free(batch.bytes);
	return error ? failed(error, "remove", fault) : 0;
}
