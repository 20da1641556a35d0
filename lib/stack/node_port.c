/* A port that goes away takes everything with it that would still use it. */
#include "stack/node.h"

void kcpvpn_node_close_port(
	struct kcpvpn_node *node, const struct kcpvpn_udp_port *port, int64_t now_us)
{
	kcpvpn_node_flush(node, now_us);
	list_for_each_safe (at, &node->convs) {
		struct kcpvpn_conv *conv = list_entry(at, struct kcpvpn_conv, in_convs);
		if (conv->port == port)
			node_conv_free(conv);
	}
}
