/* A port that goes away takes everything with it that would still use it. */
#include "stack/node.h"

void kcpvpn_node_close_port(
	struct kcpvpn_node *node, const struct kcpvpn_udp_port *port, int64_t now_us)
{
	struct list *const lists[] = {&node->convs, &node->remnants};

	kcpvpn_node_flush(node, now_us);
	for (size_t i = 0; i < 2; i++) {
		list_for_each_safe (at, lists[i]) {
			struct kcpvpn_conv *conv = list_entry(at, struct kcpvpn_conv, in_convs);
			if (conv->port == port)
				node_conv_free(conv);
		}
	}
}
