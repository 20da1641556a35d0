/* The daemon knows its own public key, and tells a peer that has it. */
#include "vpnd/key_reader.h"

#include "config/config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* RFC 7748, section 6.1: Alice's. */
#define PRIVATE "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
#define PUBLIC "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="

Test(key_reader, own_key)
{
	static struct config_report report;
	static const char HEAD[] = "version: 1\nidentity: {private_key_file: k}\n";
	char folder[] = "/tmp/vpnd-key-XXXXXX";
	char path[64], text[256];
	struct config *config = NULL;

	cr_assert(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/k", folder);
	FILE *file = fopen(path, "w");
	cr_assert(file);
	(void)fputs(PRIVATE "\n", file);
	(void)fclose(file);
	cr_assert_eq(chmod(path, 0600), 0);
	(void)snprintf(path, sizeof(path), "%s/office.yaml", folder);
	cr_assert_eq(config_parse_text(path, HEAD, strlen(HEAD), key_reader(), &config, &report), 0,
		"%s", report.errors[0].text);
	cr_assert_str_eq(config->identity.public_key_text, PUBLIC);
	config_free(config);
	(void)snprintf(text, sizeof(text),
		"%speers: {a: {endpoints: [192.0.2.1:1], public_key: " PUBLIC "}}\n", HEAD);
	cr_assert(config_parse_text(path, text, strlen(text), key_reader(), &config, &report) < 0);
	cr_assert(strstr(report.errors[0].text, "this host's own"));
	(void)snprintf(path, sizeof(path), "%s/k", folder);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(rmdir(folder), 0);
}
