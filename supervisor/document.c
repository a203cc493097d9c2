#include "supervisor/document.h"

#include "stage/mem.h"
#include "supervisor/path.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Readers of YAML take no key over 1024 characters in the usual form; a byte
 * can become six. */
#define KEY_MAX_BYTES 160
/* Blanks for each level. */
#define STEP 2

/* What is printed, and where what it says about paths starts. */
struct printer {
	FILE *out;
	const char *base;  /* borrowed; of the file at hand */
	enum key_set keys; /* of the map `config`; KEYS_SETS: any other map */
	bool is_begun;	   /* something was printed */
};

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "abcdefghijklmnopqrstuvwxyz";

/*
 * Says whether `text` can stand without quotes, also in a list in brackets, as
 * a key or a value: no reader takes it for a number, a date, a flag or nothing.
 * Those of YAML 1.1 have many ways to write these, so few characters are
 * enough.
 */
static bool
is_plain(const char *text)
{
	static const char *const words[] = {
	    "null", "true", "false", "y", "n", "yes", "no", "on", "off"};
	size_t bytes = strlen(text);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(text, words[i]) == 0)
			return false;
	for (size_t i = 0; i < bytes; i++)
		if (strchr(letters, text[i]) == NULL &&
		    strchr("_./:+-@%=0123456789", text[i]) == NULL)
			return false;
	return bytes > 0 &&
	       (strchr(letters, text[0]) != NULL || text[0] == '/' ||
		   text[0] == '_') &&
	       text[bytes - 1] != ':';
}

/* Returns the character at `*text` and moves on behind it; it is UTF-8. */
static uint32_t
next_character(const char **text)
{
	const uint8_t *p = (const uint8_t *)*text;
	uint32_t code = p[0];
	int more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;

	if (more > 0)
		code &= 0x3fu >> more;
	for (int i = 1; i <= more; i++)
		code = code << 6 | (p[i] & 0x3f);
	*text += more + 1;
	return code;
}

/* Says whether the character may stand in a line of YAML. */
static bool
is_printable(uint32_t code)
{
	return code >= 0x20 && !(code >= 0x7f && code < 0xa0) &&
	       code != 0x2028 && code != 0x2029 && code != 0xfeff &&
	       (code & 0xfffe) != 0xfffe;
}

/* Prints text in double quotes. */
static void
print_quoted(const struct printer *p, const char *text)
{
	(void)fputc('"', p->out);
	while (*text != '\0') {
		const char *start = text;
		uint32_t code = next_character(&text);

		if (code == '\n')
			(void)fputs("\\n", p->out);
		else if (code == '\t')
			(void)fputs("\\t", p->out);
		else if (code == '"' || code == '\\')
			(void)fprintf(p->out, "\\%c", (char)code);
		else if (is_printable(code))
			(void)fwrite(start, 1, (size_t)(text - start), p->out);
		else if (code > 0xffff)
			(void)fprintf(p->out, "\\U%08x", (unsigned int)code);
		else
			(void)fprintf(p->out, "\\u%04x", (unsigned int)code);
	}
	(void)fputc('"', p->out);
}

/* Prints a string that was not in quotes, or that has changed. */
static void
print_text(const struct printer *p, const char *text, bool is_in_list)
{
	if (is_plain(text) && !(is_in_list && strchr(text, ':') != NULL))
		(void)fputs(text, p->out);
	else
		print_quoted(p, text);
}

static void
print_scalar(
    const struct printer *p, const struct tree_node *node, bool is_in_list)
{
	bool ignored;

	if (node->is_quoted)
		print_quoted(p, node->text);
	else if (tree_is_null(node))
		(void)fputs("null", p->out);
	else if (tree_is_number(node) || tree_is_bool(node, &ignored))
		(void)fputs(node->text, p->out);
	else
		print_text(p, node->text, is_in_list);
}

static void
print_path(const struct printer *p, const char *path, bool is_in_list)
{
	char *joined = path_join(p->base, path);

	print_text(p, joined, is_in_list);
	free(joined);
}

static void
print_indent(const struct printer *p, unsigned int indent)
{
	(void)fprintf(p->out, "%*s", (int)indent, "");
}

/* Says whether a value can stand behind its key, in its line. */
static bool
is_flat(const struct tree_node *node)
{
	for (size_t i = 0; i < node->count; i++)
		if (node->kind == TREE_MAP ||
		    node->items[i].kind != TREE_SCALAR)
			return false;
	return true;
}

/* Says whether the value of `key` in the map at hand is a path. */
static bool
is_path(const struct printer *p, const char *key)
{
	const struct key *keys;

	if (p->keys == KEYS_SETS)
		return false;
	for (keys = keys_of(p->keys); keys->name != NULL; keys++)
		if (strcmp(keys->name, key) == 0)
			return keys->type == KEY_FILE;
	return false;
}

/* Prints a value that stands in the line of its key. */
static void
print_flat(const struct printer *p, const struct tree_node *node)
{
	/* The program of an onramp is a path if there is a "/" in it. */
	bool has_program = p->keys == KEYS_EXEC && node->key != NULL &&
			   strcmp(node->key, "command") == 0;

	if (node->kind == TREE_MAP) {
		(void)fputs("{}", p->out);
	} else if (node->kind == TREE_LIST) {
		(void)fputc('[', p->out);
		for (size_t i = 0; i < node->count; i++) {
			const struct tree_node *item = &node->items[i];

			if (i > 0)
				(void)fputs(", ", p->out);
			if (i == 0 && has_program &&
			    strchr(item->text, '/') != NULL)
				print_path(p, item->text, true);
			else
				print_scalar(p, item, true);
		}
		(void)fputc(']', p->out);
	} else if (node->key != NULL && is_path(p, node->key)) {
		print_path(p, node->text, false);
	} else {
		print_scalar(p, node, false);
	}
}

static void print_entries(const struct printer *p, const struct tree_node *node,
    unsigned int indent, bool is_begun);

/* Prints the value of a key, and the end of the line. */
static void
print_value(
    const struct printer *p, const struct tree_node *node, unsigned int indent)
{
	if (is_flat(node)) {
		(void)fputc(' ', p->out);
		print_flat(p, node);
		(void)fputc('\n', p->out);
		return;
	}
	(void)fputc('\n', p->out);
	print_entries(p, node, indent + STEP, false);
}

static void
print_key(const struct printer *p, const char *key, unsigned int indent)
{
	bool is_long = strlen(key) > KEY_MAX_BYTES;

	if (is_long)
		(void)fputs("? ", p->out);
	if (is_plain(key))
		(void)fputs(key, p->out);
	else
		print_quoted(p, key);
	if (is_long) {
		(void)fputc('\n', p->out);
		print_indent(p, indent);
	}
	(void)fputc(':', p->out);
}

/*
 * Prints the entries of a list or a map, each in lines of its own. `is_begun`:
 * the first stands where the line is already.
 */
static void
print_entries(const struct printer *p, const struct tree_node *node,
    unsigned int indent, bool is_begun)
{
	for (size_t i = 0; i < node->count; i++) {
		const struct tree_node *item = &node->items[i];

		if (i > 0 || !is_begun)
			print_indent(p, indent);
		if (node->kind == TREE_MAP) {
			print_key(p, item->key, indent);
			print_value(p, item, indent);
			continue;
		}
		(void)fputs("- ", p->out);
		if (is_flat(item)) {
			print_flat(p, item);
			(void)fputc('\n', p->out);
		} else {
			print_entries(p, item, indent + STEP, true);
		}
	}
}

/* Returns the table of the keys in the map `config` of an entry. */
static enum key_set
config_keys(const char *section, const struct tree_node *entry)
{
	const struct tree_node *type = tree_find(entry, "type");

	if (strcmp(section, "offramp") == 0)
		return KEYS_WS;
	if (strcmp(section, "onramp") == 0 && strcmp(type->text, "exec") == 0)
		return KEYS_EXEC;
	return KEYS_SETS;
}

/*
 * Prints one entry of a section. `id` is what it is called: that of a pipeline
 * may be the one that it is linked by.
 */
static void
print_entry(struct printer *p, const char *section,
    const struct tree_node *entry, const char *id)
{
	(void)fputs("  - id: ", p->out);
	print_text(p, id, false);
	(void)fputc('\n', p->out);
	for (size_t i = 0; i < entry->count; i++) {
		const struct tree_node *item = &entry->items[i];

		if (strcmp(item->key, "id") == 0)
			continue;
		if (strcmp(item->key, "config") == 0)
			p->keys = config_keys(section, entry);
		print_indent(p, 2 * STEP);
		print_key(p, item->key, 2 * STEP);
		print_value(p, item, 2 * STEP);
		p->keys = KEYS_SETS;
	}
}

/* Returns the id of the entry of a section that was read as number `index`. */
static const char *
id_of(const struct config *config, const char *section, size_t index)
{
	if (strcmp(section, "onramp") == 0)
		return config->onramps[index]->id.text;
	if (strcmp(section, "pipeline") == 0)
		return config->pipelines[index]->id.text;
	if (strcmp(section, "offramp") == 0)
		return config->offramps[index]->id.text;
	return config->bindings[index]->id.text;
}

/* Prints a section of all files. */
static void
print_section(
    struct printer *p, const struct config *config, const char *section)
{
	size_t count = 0;

	for (size_t i = 0; i < config->file_count; i++) {
		const struct config_file *file = config->files[i];
		const struct tree_node *part = tree_find(file->root, section);

		p->base = file->base;
		for (size_t j = 0; part != NULL && j < part->count; j++) {
			if (count == 0)
				(void)fprintf(p->out, "%s%s:\n",
				    p->is_begun ? "\n" : "", section);
			p->is_begun = true;
			if (part->kind == TREE_LIST)
				print_entry(p, section, &part->items[j],
				    id_of(config, section, count));
			else {
				print_indent(p, STEP);
				print_key(p, part->items[j].key, STEP);
				print_value(p, &part->items[j], STEP);
			}
			count++;
		}
	}
}

/* Prints what a file says about all of them. */
static void
print_root(struct printer *p, const struct config_file *file)
{
	p->base = file->base;
	p->keys = KEYS_ROOT;
	for (size_t i = 0; i < file->root->count; i++) {
		const struct tree_node *item = &file->root->items[i];

		if (item->kind != TREE_SCALAR)
			continue;
		print_key(p, item->key, 0);
		print_value(p, item, 0);
		p->is_begun = true;
	}
	p->keys = KEYS_SETS;
}

void
document_print(const struct config *config, FILE *out)
{
	static const char *const sections[] = {
	    "onramp", "pipeline", "offramp", "binding", "mapping"};
	struct printer p = {.out = out, .keys = KEYS_SETS};

	for (size_t i = 0; i < config->file_count; i++)
		print_root(&p, config->files[i]);
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		print_section(&p, config, sections[i]);
}
