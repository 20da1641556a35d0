#include "session/session_table.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 400 };

/* Against a naive twin: which of the nodes are in, found by a walk. */
Test(session_table, agrees_with_a_list)
{
	struct siphash_key key = {1, 2};
	struct session_table table;
	static struct session_table_node nodes[NODES];
	bool in[NODES] = {false};
	int ports[2];
	unsigned seed = 5;

	session_table_init(&table, &key);
	for (int i = 0; i < NODES; i++) {
		nodes[i].port = &ports[i % 2];
		nodes[i].remote = (struct kcpvpn_endpoint){.family = 4, .port = (uint16_t)(i / 2)};
		nodes[i].remote.address[0] = 10;
	}
	for (int step = 0; step < 20000; step++) {
		int i = rand_r(&seed) % NODES;
		struct session_table_node *found =
			session_table_find(&table, nodes[i].port, &nodes[i].remote);
		cr_assert_eq(found, in[i] ? &nodes[i] : NULL, "step %d", step);
		if (in[i])
			session_table_remove(&table, &nodes[i]);
		else
			cr_assert_eq(session_table_add(&table, &nodes[i]), 0);
		in[i] = !in[i];
	}
	size_t count = 0;
	for (int i = 0; i < NODES; i++)
		count += in[i];
	cr_expect_eq(table.count, count);
	session_table_fini(&table);
}

Test(session_table, remote_differs_in_every_field)
{
	struct siphash_key key = {1, 2};
	struct session_table table;
	struct session_table_node node = {.remote = {.family = 6, .port = 9, .scope_id = 3}};
	int port;

	session_table_init(&table, &key);
	node.port = &port;
	cr_assert_eq(session_table_add(&table, &node), 0);
	struct kcpvpn_endpoint other = node.remote;
	other.port++;
	cr_expect_null(session_table_find(&table, &port, &other));
	other = node.remote;
	other.scope_id++;
	cr_expect_null(session_table_find(&table, &port, &other));
	other = node.remote;
	other.address[15]++;
	cr_expect_null(session_table_find(&table, &port, &other));
	cr_expect_null(session_table_find(&table, &key, &node.remote));
	cr_expect_eq(session_table_find(&table, &port, &node.remote), &node);
	session_table_fini(&table);
}
