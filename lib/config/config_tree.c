/*
 * From libyaml's events to a tree.
 *
 * libyaml's document API resolves aliases into shared nodes, so `a: &a [*a]` becomes a graph without
 * an end. Here the tree is built from the event stream instead: an alias is refused where it
 * stands, depth and number of nodes are bounded while reading, and every node keeps the place it
 * came from. Since no more events are asked for once a bound is passed, a hostile file costs no
 * more than its size.
 *
 * Scalars stay texts: whether `no` or `0123` is a word, a number or a name is for the schema to say.
 *
 * All memory of a tree lies in a few blocks that are wiped when it is freed, because keys may stand in it.
 */
#include "config/config_tree.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum {
	BLOCK_BYTES = 16 << 10,
	ALIGN = 16,
};

struct tree_block {
	struct tree_block *next;
	size_t used, size;
	_Alignas(ALIGN) unsigned char data[];
};

struct frame {
	struct tree_node *node;
	struct tree_node *key; /* in a map: the key that waits for its value */
	bool secret;	       /* everything inside is a secret by its key's name */
};

struct builder {
	struct findings *findings;
	unsigned source;
	struct tree *tree;
	struct frame stack[TREE_DEPTH_MAX];
	unsigned depth;
	unsigned documents;
	int error; /* sticky: -ENOMEM; -E2BIG after a finding that ends the reading */
};

static void *take(struct tree *tree, size_t bytes)
{
	size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
	struct tree_block *block = tree->blocks;

	if (!block || block->size - block->used < rounded) {
		size_t size = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;
		block = calloc(1, sizeof(*block) + size);
		if (!block)
			return NULL;
		block->size = size;
		block->next = tree->blocks;
		tree->blocks = block;
	}
	void *at = block->data + block->used;
	block->used += rounded;
	return at;
}

void tree_free(struct tree *tree)
{
	while (tree->blocks) {
		struct tree_block *block = tree->blocks;
		tree->blocks = block->next;
		explicit_bzero(block->data, block->size);
		free(block);
	}
	*tree = (struct tree){0};
}

static struct finding_place place_of(const struct builder *b, const yaml_event_t *event)
{
	const yaml_mark_t *start = &event->start_mark;
	const yaml_mark_t *end = &event->end_mark;
	struct finding_place place = {
		.source = b->source,
		.line = (unsigned)start->line + 1,
		.column = (unsigned)start->column + 1,
		.width = 1,
	};
	if (end->line == start->line && end->column > start->column)
		place.width = (unsigned)(end->column - start->column);
	return place;
}

/* Puts a new node into the innermost map or list, or makes it the root. */
static void attach(struct builder *b, struct tree_node *node)
{
	if (b->depth == 0) {
		b->tree->root = node;
		return;
	}
	struct frame *top = &b->stack[b->depth - 1];
	if (top->node->kind == TREE_MAP && !top->key) {
		top->key = node;
		return;
	}
	node->key = top->key;
	top->key = NULL;
	if (top->node->last)
		top->node->last->next = node;
	else
		top->node->first = node;
	top->node->last = node;
	top->node->count++;
}

static struct tree_node *add_node(struct builder *b, enum tree_kind kind, const yaml_event_t *event)
{
	struct finding_place place = place_of(b, event);

	if (b->tree->node_count == TREE_NODES_MAX) {
		findings_error(b->findings, CONFIG_E_LIMIT, place, NULL,
			"more than %d values in one file", TREE_NODES_MAX);
		b->error = -E2BIG;
		return NULL;
	}
	struct tree_node *node = take(b->tree, sizeof(*node));
	if (!node) {
		b->error = -ENOMEM;
		return NULL;
	}
	*node = (struct tree_node){.kind = kind, .place = place};
	b->tree->node_count++;
	attach(b, node);
	return node;
}

/* True if what comes next is the value of a secret. */
static bool value_is_secret(const struct builder *b)
{
	if (b->depth == 0)
		return false;
	const struct frame *top = &b->stack[b->depth - 1];
	return top->secret ||
	       (top->key && top->key->kind == TREE_SCALAR && source_key_is_secret(top->key->text));
}

static void refuse_tag(struct builder *b, struct tree_node *node, const yaml_char_t *tag)
{
	if (!node || !tag)
		return;
	findings_error(b->findings, CONFIG_E_ALIAS, node->place, NULL,
		"tags are not used here; the schema knows each key's type");
	node->kind = TREE_BAD;
}

static void mask_event(struct builder *b, const yaml_event_t *event)
{
	struct source_mask mask = {
		.line = (unsigned)event->start_mark.line + 1,
		.column = (unsigned)event->start_mark.column + 1,
		.end_line = (unsigned)event->end_mark.line + 1,
		.end_column = (unsigned)event->end_mark.column + 1,
	};

	if (source_mask(&b->findings->sources[b->source], mask))
		b->error = -ENOMEM;
}

static void on_scalar(struct builder *b, const yaml_event_t *event)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;
	bool secret = value_is_secret(b);
	struct tree_node *node = add_node(b, TREE_SCALAR, event);

	if (!node)
		return;
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->text = take(b->tree, len + 1);
	if (!node->text) {
		b->error = -ENOMEM;
		return;
	}
	memcpy(node->text, value, len);
	node->text[len] = '\0';
	if (secret && len > 0)
		mask_event(b, event);
	refuse_tag(b, node, event->data.scalar.tag);
	if (node->kind == TREE_SCALAR && strlen(node->text) != len) {
		findings_error(b->findings, CONFIG_E_VALUE, node->place, NULL,
			"a NUL character cannot be part of a value");
		node->kind = TREE_BAD;
	}
}

static void on_start(
	struct builder *b, enum tree_kind kind, const yaml_event_t *event, const yaml_char_t *tag)
{
	if (b->depth == TREE_DEPTH_MAX) {
		findings_error(b->findings, CONFIG_E_LIMIT, place_of(b, event), NULL,
			"nested deeper than %d levels", TREE_DEPTH_MAX);
		b->error = -E2BIG;
		return;
	}
	bool secret = value_is_secret(b);
	struct tree_node *node = add_node(b, kind, event);
	if (!node)
		return;
	node->place.width = 1;
	b->stack[b->depth++] = (struct frame){.node = node, .secret = secret};
	if (tag)
		findings_error(b->findings, CONFIG_E_ALIAS, node->place, NULL,
			"tags are not used here; the schema knows each key's type");
}

static int compare_keys(const void *a, const void *b)
{
	const struct tree_node *x = *(struct tree_node *const *)a;
	const struct tree_node *y = *(struct tree_node *const *)b;
	int order = strcmp(x->key->text, y->key->text);

	if (order)
		return order;
	if (x->place.line != y->place.line)
		return x->place.line < y->place.line ? -1 : 1;
	return (x->place.column > y->place.column) - (x->place.column < y->place.column);
}

/* Tells values whose key came before. Sorted, because a map can have as many keys as a file has lines. */
static void mark_twins(struct builder *b, const struct tree_node *map)
{
	size_t count = 0;

	if (map->count < 2)
		return;
	struct tree_node **sorted = calloc(map->count, sizeof(struct tree_node *));
	if (!sorted) {
		b->error = -ENOMEM;
		return;
	}
	for (struct tree_node *n = map->first; n; n = n->next) {
		if (n->key->kind == TREE_SCALAR)
			sorted[count++] = n;
	}
	qsort(sorted, count, sizeof(struct tree_node *), compare_keys);
	for (size_t i = 1; i < count; i++) {
		struct tree_node *before = sorted[i - 1];
		if (strcmp(before->key->text, sorted[i]->key->text) == 0)
			sorted[i]->twin = before->twin ? before->twin : before;
	}
	free(sorted);
}

static void on_event(struct builder *b, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (b->documents++ == 0)
			return;
		findings_error(b->findings, CONFIG_E_SYNTAX, place_of(b, event), NULL,
			"a second document begins; a configuration is one document");
		b->error = -E2BIG;
		return;
	case YAML_ALIAS_EVENT: {
		if (value_is_secret(b))
			mask_event(b, event); /* `key: *word` may be a password without quotes */
		struct tree_node *node = add_node(b, TREE_BAD, event);
		if (node)
			findings_error(b->findings, CONFIG_E_ALIAS, node->place, NULL,
				"aliases are not used here; write the value out");
		return;
	}
	case YAML_SCALAR_EVENT:
		on_scalar(b, event);
		return;
	case YAML_SEQUENCE_START_EVENT:
		on_start(b, TREE_LIST, event, event->data.sequence_start.tag);
		return;
	case YAML_MAPPING_START_EVENT:
		on_start(b, TREE_MAP, event, event->data.mapping_start.tag);
		return;
	case YAML_MAPPING_END_EVENT:
		mark_twins(b, b->stack[b->depth - 1].node);
		b->depth--;
		return;
	case YAML_SEQUENCE_END_EVENT:
		b->depth--;
		return;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		return;
	}
}

/* Turns libyaml's own complaint into a finding. */
static void on_syntax_error(struct builder *b, const yaml_parser_t *parser)
{
	struct source *source = &b->findings->sources[b->source];
	struct finding_place place = {.source = b->source, .width = 1};
	const char *problem = parser->problem ? parser->problem : "cannot be parsed";
	const char *note = NULL;

	if (value_is_secret(b))
		source->hidden = true;
	if (parser->error == YAML_READER_ERROR) {
		/* the reader has no marks, only the offset of the byte it does not like */
		source_position(source, parser->problem_offset, &place.line, &place.column);
	} else {
		place.line = (unsigned)parser->problem_mark.line + 1;
		place.column = (unsigned)parser->problem_mark.column + 1;
		if (source_is_tab(source, place.line, place.column))
			note = "a tab; indent with spaces";
	}
	unsigned context_line = (unsigned)parser->context_mark.line + 1;
	if (parser->error == YAML_PARSER_ERROR && parser->context && context_line != place.line)
		findings_error(b->findings, CONFIG_E_SYNTAX, place, note,
			"not YAML: %s %s that begins at line %u", problem, parser->context,
			context_line);
	else if (parser->error != YAML_READER_ERROR && parser->context)
		findings_error(b->findings, CONFIG_E_SYNTAX, place, note, "not YAML: %s %s",
			problem, parser->context);
	else
		findings_error(b->findings, CONFIG_E_SYNTAX, place, note, "not YAML: %s", problem);
}

int tree_parse(struct findings *findings, unsigned source, struct tree *ret_tree)
{
	const struct source *text = &findings->sources[source];
	struct builder b = {.findings = findings, .source = source, .tree = ret_tree};
	yaml_parser_t parser;
	bool more = true;

	*ret_tree = (struct tree){0};
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	/* given, not guessed: a byte order mark does not make it UTF-16 */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text->text, text->len);
	while (more && !b.error) {
		yaml_event_t event;
		if (!yaml_parser_parse(&parser, &event)) {
			if (parser.error == YAML_MEMORY_ERROR)
				b.error = -ENOMEM;
			else
				on_syntax_error(&b, &parser);
			break;
		}
		on_event(&b, &event);
		more = b.error || event.type != YAML_STREAM_END_EVENT;
		if (event.type == YAML_SCALAR_EVENT && event.data.scalar.length)
			explicit_bzero(event.data.scalar.value, event.data.scalar.length);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	ret_tree->whole = !more;
	return b.error == -ENOMEM ? -ENOMEM : 0;
}

const struct tree_node *tree_get(const struct tree_node *map, const char *key)
{
	if (!map || map->kind != TREE_MAP)
		return NULL;
	for (const struct tree_node *n = map->first; n; n = n->next) {
		if (n->key && n->key->kind == TREE_SCALAR && strcmp(n->key->text, key) == 0)
			return n;
	}
	return NULL;
}

bool tree_is_empty(const struct tree_node *node)
{
	return node->kind == TREE_SCALAR && node->plain && node->text[0] == '\0';
}
