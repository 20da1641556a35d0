/*
 * The table is append-only: a number is never given another meaning, since logs, scripts and people's notes hold it.
 *
 * Families: CLI the command line, CONN reaching the daemon, KEY key files, CTL the control socket, PEER peers at run
 * time, PING probes, DOC what `doctor` finds; of the daemon VPND, TUN, NET (addresses, routes, rules), NETNS, DNS, HOOK, UDP,
 * PRIV (privileges), STATE, WIRE.
 */
#include "control/control_code.h"

#include "control/control_error.h"

static const struct control_code_row ROWS[] = {
	{"E-CLI-1", "There is no such verb. kcpctl help lists them."},
	{"E-CLI-2", "There is no such option, or this verb does not take it."},
	{"E-CLI-3", "A word or value is missing."},
	{"E-CLI-4", "A value makes no sense here."},
	{"E-CLI-6", "No verb was given."},
	{"E-CLI-7", "There are more words than the verb takes."},
	{"E-CLI-8", "Memory ran out."},
	{"E-CLI-9", "The output could not be written: a full disk, or whoever read it has gone."},

	{"E-CONN-1", "No daemon listens on the socket of that network. Start it; its log says why "
		     "it ended."},
	{"E-CONN-2", "No daemon listens on any socket. Start one."},
	{"E-CONN-3", "Several daemons are running. Choose one by -n NETWORK."},
	{"E-CONN-4", "You may not open the socket. Use sudo, or join the group that control.group "
		     "names."},
	{"E-CONN-5", "There is neither a socket nor a configuration of that name."},
	{"E-CONN-6", "The daemon closed the connection before it answered: it ended, or had to "
		     "make room."},
	{"E-CONN-7", "The answer did not come in time. --timeout gives it longer."},
	{"E-CONN-8", "kcpctl and the daemon are of versions that do not understand each other."},
	{"E-CONN-9", "What answers on the socket does not speak the daemon's protocol."},

	{"E-KEY-1", "The key file cannot be written there. Nothing was left behind."},
	{"E-KEY-2", "A file of that name is there already. Keys are never overwritten: those "
		    "who have its public half would not know this host any more."},
	{"E-KEY-3", "The key file cannot be read."},
	{"E-KEY-4", "The file holds no key: one line of base64, 44 characters that end in =."},
	{"E-KEY-5", "The system gives no randomness, or the disk fails."},

	{CONTROL_CODE_PERMISSION, "Reading needs control.group, changing needs "
				  "control.admin_group; root may do all."},
	{CONTROL_CODE_NO_PEER,
		"The network has no peer of that name. kcpctl peer list shows the names."},
	{CONTROL_CODE_PARSE, "The daemon got something that is not JSON."},
	{CONTROL_CODE_REQUEST, "The daemon got JSON that is not a JSON-RPC 2.0 request."},
	{CONTROL_CODE_METHOD, "The daemon does not know that method; it may be older than kcpctl."},
	{CONTROL_CODE_PARAMS, "The daemon does not know that parameter, or its value is wrong."},
	{CONTROL_CODE_TOO_LONG, "A request may have 256 KiB."},
	{CONTROL_CODE_BUSY, "Too many programs talk to the daemon at once."},
	{CONTROL_CODE_MEMORY, "The daemon ran out of memory."},
	{CONTROL_CODE_FAILED, "The daemon could not do it; the text says why."},
	{CONTROL_CODE_NOT_BUILT, "The daemon knows it, but not in this version."},
	{CONTROL_CODE_SOCKET, "The daemon could not make its control socket."},
	{CONTROL_CODE_RUNNING, "Another daemon serves that network already."},

	{CONTROL_CODE_PEER_EXISTS,
		"There is a peer of that name with other settings. Change it in "
		"its file and reload, or delete it first: kcpctl peer del NAME."},
	{CONTROL_CODE_PEER_FILE,
		"The peer's file could not be written or removed, or holds more than that peer. "
		"The text says which file and why. Nothing was changed."},
	{CONTROL_CODE_PEER_INCLUDE,
		"What --save writes into peers.d would not be read: `include` of the "
		"configuration does not name that folder. Add peers.d/*.yaml to it."},
	{CONTROL_CODE_PEER_ROUTE,
		"The network knows the peer now, but the host has no route to some of its "
		"allowed_ips. The text says why."},
	{CONTROL_CODE_PEER_EDITED,
		"The files were edited and not reloaded, and an order about one peer must not "
		"take over the rest. kcpctl reload first."},

	{CONTROL_CODE_PING_DOWN, "There is no session with the peer, so that nothing can be sent "
				 "inside it. kcpctl status PEER says what it is waiting for."},
	{CONTROL_CODE_PING_LOST, "No probe came back in time. The session may be about to end, the "
				 "loss is high, or the size is more than the path carries."},
	{CONTROL_CODE_PING_SIZE,
		"A probe of that size cannot be sent: on the native wire a datagram "
		"has 96 to 9000 bytes of UDP payload, and no more than the outgoing "
		"interface takes. The kcp-go wire has no probes of a chosen size."},

	{"E-DOC-1", "vpnd needs /dev/net/tun for its interface. Load the module (sudo modprobe "
		    "tun); in a container, pass the device in (--device /dev/net/tun)."},
	{"E-DOC-2", "vpnd makes its interface with CAP_NET_ADMIN, and here nobody may have that "
		    "right. Give it to the container (--cap-add NET_ADMIN), or start it as root."},
	{"E-DOC-3", "The configuration is not valid, or cannot be read. kcpctl config check shows "
		    "all that is wrong with it."},
	{"E-DOC-4", "Another program uses the UDP port that `listen` names. ss -lunp shows which; "
		    "stop it, or choose another port here and in the peers' endpoints."},
	{"E-DOC-5", "The host's own firewall drops the tunnel's UDP datagrams. Accept UDP to the "
		    "port of `listen` (input), or to the peers' endpoints (output)."},
	{"E-DOC-6", "Strict reverse path filtering on the tunnel's interface drops what peers send "
		    "from addresses whose route is in another table, or not there. Set "
		    "net.ipv4.conf.INTERFACE.rp_filter to 2 (loose), or use routes.table: main."},
	{"E-DOC-7", "An address of the tunnel overlaps with one of another interface: the host "
		    "cannot tell which of the two a packet is for. Use another range on one side."},
	{"E-DOC-8", "A route of the host leads addresses of a peer somewhere else than into the "
		    "tunnel. Remove it, or take these addresses out of allowed_ips."},
	{"E-DOC-9",
		"The MTU on the way is too small for what the tunnel carries. Raise that of "
		"the outgoing interface, or of the link on the way (PPPoE, another tunnel), to "
		"1280 or more; if only interface.mtu is too large, set it smaller, or to auto."},
	{"E-DOC-10", "The name of a peer's endpoint means no address. Correct it, or see to the "
		     "host's resolver (/etc/resolv.conf, resolvectl status)."},
	{"E-DOC-11", "The host's clock is far off. Peers refuse calls that seem older than "
		     "others they had. Set it, and have it kept (systemd-timesyncd, chrony)."},
	{"E-DOC-12", "Others than root and one group may read or write a file with keys or with "
		     "the configuration. Use: chmod 0600 FILE."},
	{"E-DOC-13",
		"Two networks on this host have the same private key. Peers take the two for "
		"one that moves to and fro. Make one of them a key of its own: kcpctl key gen."},
	{"E-DOC-14", "The peer's key is not the one in the file here, or ours is not the one in "
		     "its file. Compare `kcpctl key pub FILE` there with peers.NAME.public_key "
		     "here, and the other way round; a preshared or network key must be the same."},
	{"E-DOC-15", "Policy rules or interfaces of another VPN may lead packets past this tunnel, "
		     "or this tunnel's own datagrams into the other. ip rule shows them."},
	{"E-DOC-16", "The daemon does not run, so that it could not be asked. Start it, or read "
		     "its log."},
	{"E-DOC-17", "The daemon tells a warning of its own; the text says what."},
	{"E-DOC-18", "Something could not be looked at, so it may be wrong all the same. Mostly "
		     "doctor needs root for it: sudo kcpctl doctor."},

	{"E-VPND-1",
		"The kernel refused what the daemon cannot do without (an event loop, signals)."},
	{"E-VPND-2", "Memory ran out."},
	{"E-VPND-3",
		"The peer has enabled: false in its file, and an order cannot change that. Set "
		"it to true there, then: kcpctl reload."},
	{"E-VPND-4", "The command line makes no sense; the text says what of it. vpnd --help."},
	{"E-VPND-5",
		"The service manager passed something on that is not one Unix stream socket which "
		"listens. The unit vpnd@.socket shows what is wanted; or start without a socket "
		"unit."},
	{"E-TUN-1", "/dev/net/tun is not there. Load the module (sudo modprobe tun); in a "
		    "container, pass the device in."},
	{"E-TUN-2", "Making an interface needs root, or CAP_NET_ADMIN and access to /dev/net/tun."},
	{"E-TUN-3", "The kernel refused to make the interface; the text says why."},
	{"E-TUN-4", "An interface of that name is there already, or another program holds it. Is "
		    "the daemon running already? Otherwise choose another interface.name."},
	{"E-TUN-5", "Not the name of an interface: 1 to 15 letters, digits, - _ or ."},
	{"E-NET-1", "The kernel gives no netlink socket. Are sockets of that family forbidden to "
		    "the daemon?"},
	{"E-NET-2", "The link could not be set up or down."},
	{"E-NET-3", "The kernel does not take that MTU for the interface."},
	{"E-NET-4", "An address could not be added or removed. Is it in use elsewhere, or IPv6 "
		    "switched off?"},
	{"E-NET-5", "A route could not be added or removed. Is another one in its place? ip route "
		    "shows the routes."},
	{"E-NET-6", "The routes of the host could not be listed."},
	{"E-NET-7", "The host's route to an address could not be found."},
	{"E-NET-8", "Changes of addresses and routes cannot be watched; the daemon would learn too "
		    "late of another network."},
	{"E-NET-9", "Somebody else has a route to a destination of the tunnel already. ip route "
		    "show table all shows it. Take it out of allowed_ips or interface.addresses, "
		    "or say which is to win: routes.on_clash."},
	{"E-NET-10", "The kernel refused a policy rule of the full tunnel; the text says why. ip "
		     "rule shows those that are there."},
	{"E-NET-11", "The packet filter of the full tunnel cannot be set or looked after. It takes "
		     "the kernel's nf_tables: modprobe nf_tables."},
	{"E-NET-12", "With a full tunnel a host whose devices are strict (rp_filter=1) drops what "
		     "peers answer, unless the kernel can mark it: modprobe nft_socket. Or: "
		     "sysctl net.ipv4.conf.all.rp_filter=2."},
	{"E-NETNS-1", "The network namespace of interface.netns cannot be entered. It must be "
		      "there (ip netns add NAME) before vpnd starts; a unit must grant "
		      "CAP_SYS_ADMIN and RestrictNamespaces=net, see vpnd(8)."},

	{"E-DNS-1", "systemd-resolved runs, but did not take the servers of the tunnel; the text "
		    "says why. Names are asked as before. resolvectl shows what it knows."},
	{"E-DNS-2",
		"Nobody can be told the servers of the tunnel. Install systemd-resolved, "
		"openresolv or resolvconf; and restart vpnd if dns.servers is new in the file."},
	{"E-HOOK-1", "A program of hooks, or resolvconf, could not be run, or failed. The log has "
		     "what it said; it runs without a shell, with 10 s of time and VPND_* in its "
		     "environment. After a pre_up that fails the link stays down."},

	{"E-UDP-1",
		"Another program uses the UDP port. ss -lunp shows which. Is the daemon running "
		"already? Otherwise choose another port."},
	{"E-UDP-2",
		"The host does not have the address that `listen` names. Use one of its own, or "
		"[::] for all."},
	{"E-UDP-3", "The port or fwmark needs root. Choose a port from 1024 up, or start as root."},
	{"E-UDP-4", "The host has no IPv6. Use an IPv4 address."},
	{"E-UDP-5", "The kernel refused to make or set up the UDP socket; the text says why."},
	{"E-UDP-6", "The host has no way to that address. ip route get shows the route."},
	{"E-PRIV-1",
		"A tunnel takes CAP_NET_ADMIN, and the daemon was started without it. Start it as "
		"root, or give it that right."},
	{"E-PRIV-2", "The user that is to handle packets is root under another name. Give it a "
		     "number and a group of its own."},
	{"E-PRIV-3", "Capabilities could not be given up."},
	{"E-PRIV-4",
		"The helper process, which changes addresses and routes, could not be started."},
	{"E-PRIV-5",
		"The helper process is gone, or does not answer in time. Restart the daemon if "
		"that lasts."},
	{"E-PRIV-6", "The helper was asked for something that the configuration does not ask for, "
		     "and refused. If nobody edited files meanwhile, please report this."},
	{"E-PRIV-7", "What the helper read could not be handed over to the daemon."},
	{"E-STATE-1", "The folder for what is remembered over a restart cannot be used. Choose "
		      "another by --state. The daemon goes on without."},
	{"E-WIRE-1", "Cipher, shards and windows of the kcp-go wire do not go together."},
	{"E-WIRE-2", "Memory ran out, or the kernel refused to watch a socket."},
	{"E-WIRE-3", "The way to the peer's endpoint leads into the tunnel itself. Take the "
		     "endpoint's address out of allowed_ips, or see to routes.table."},
	{"E-WIRE-4", "The native wire could not be set up; the text says why."},
};

const struct control_code_row *control_codes(size_t *ret_count)
{
	*ret_count = sizeof(ROWS) / sizeof(ROWS[0]);
	return ROWS;
}
