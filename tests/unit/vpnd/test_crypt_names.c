/* The configuration and the library name the ciphers alike: a file that loads must make a node. */
#include "config/config_schema.h"
#include "kcpvpn/node.h"

#include <criterion/criterion.h>
#include <string.h>

static void random_fill(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 7, len);
}

Test(crypt_names, each_word_of_the_configuration_makes_a_node)
{
	static const uint8_t key[KCPVPN_KEY_BYTES] = {1};
	const struct config_row *row = config_schema_find("kcp_go.crypt");
	char word[32];
	int count = 0;

	cr_assert_not_null(row);
	for (; config_words_at(row->words, count, word, sizeof(word)); count++) {
		struct kcpvpn_config config;
		struct kcpvpn_node *node;
		kcpvpn_config_init(&config);
		config.crypt = word;
		config.key = key;
		config.key_len = sizeof(key);
		cr_assert_eq(kcpvpn_node_new(&config, random_fill, NULL, 0, &node), 0, "%s", word);
		kcpvpn_node_free(node);
	}
	cr_assert_eq(count, 15);
}

Test(crypt_names, each_name_of_the_library_is_a_word)
{
	const struct config_row *row = config_schema_find("kcp_go.crypt");
	const char *name;

	for (size_t i = 0; (name = kcpvpn_crypt_name(i)) != NULL; i++) {
		/* kcptun has no name for it, so neither has the configuration */
		bool is_word = strcmp(name, "aes-256-gcm") != 0;
		cr_assert_eq(config_words_index(row->words, name) >= 0, is_word, "%s", name);
	}
}
