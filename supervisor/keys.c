#include "supervisor/keys.h"

#include "stage/envtext.h"
#include "stage/header.h"
#include "stage/mem.h"
#include "stage/number.h"
#include "supervisor/path.h"
#include "supervisor/url.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for a list of words in a fault. */
#define WORDS_BYTES 384
/* The longest interval between syncs that walproc takes. */
#define SYNC_MAX_MS 3600000

static struct value *
value_of(const struct key *key, void *out)
{
	return (struct value *)(void *)((char *)out + key->offset);
}

const struct value *
keys_value(const struct key *key, const void *in)
{
	return (
	    const struct value *)(const void *)((const char *)in + key->offset);
}

static bool
has_value(const struct key *key)
{
	return key->type != KEY_LIST && key->type != KEY_MAP;
}

/* Adds one word to a list of them, "a, b, c". */
static void
add_word(char list[WORDS_BYTES], const char *word)
{
	size_t used = strlen(list);

	(void)snprintf(list + used, WORDS_BYTES - used, "%s%s",
	    used == 0 ? "" : ", ", word);
}

bool
keys_is_name(const char *text, size_t bytes)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789_.-";

	if (bytes == 0 || bytes > KEYS_NAME_BYTES || text[0] == '.')
		return false;
	for (size_t i = 0; i < bytes; i++)
		if (memchr(allowed, text[i], sizeof(allowed) - 1) == NULL)
			return false;
	return true;
}

/* What one reading of a map carries along. */
struct reader {
	const struct key *key;
	const struct tree_node *node;
	const char *base;
	struct faults *faults;
};

static void
refuse_type(const struct reader *r, const char *wanted)
{
	char got[TREE_DESCRIBE_BYTES];

	if (r->key->is_private)
		faults_add(r->faults, &r->node->place,
		    "%s: %s is expected here", r->key->name, wanted);
	else
		faults_add(r->faults, &r->node->place,
		    "%s: %s is expected here, not %s", r->key->name, wanted,
		    tree_describe(r->node, got));
}

/* Refuses what is no string: a list, a map, null, a number, true. */
static int
check_string(const struct reader *r, const char *wanted)
{
	const char *text = r->node->text;
	bool ignored;

	if (r->node->kind != TREE_SCALAR || tree_is_null(r->node)) {
		refuse_type(r, wanted);
		return -1;
	}
	if (r->key->type != KEY_NAME && r->key->type != KEY_ACCOUNT &&
	    (tree_is_number(r->node) || tree_is_bool(r->node, &ignored))) {
		refuse_type(r, "a string (in quotes)");
		return -1;
	}
	if (text[0] == '\0') {
		faults_add(r->faults, &r->node->place,
		    "%s: the string is empty", r->key->name);
		return -1;
	}
	for (const char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p >= 0x20 && *p != 0x7f)
			continue;
		faults_add(r->faults, &r->node->place,
		    "%s: the string holds a control character", r->key->name);
		return -1;
	}
	return 0;
}

static int
read_name(const struct reader *r, struct value *value)
{
	const char *text = r->node->text;

	if (check_string(r, "a name") == -1)
		return -1;
	if (!keys_is_name(text, strlen(text))) {
		faults_add(r->faults, &r->node->place,
		    "%s: a name has 1 to %d letters, digits, \"_\", \".\" and "
		    "\"-\", and no \".\" in front, not \"%.80s\"",
		    r->key->name, KEYS_NAME_BYTES, text);
		return -1;
	}
	value->text = mem_strdup(text);
	return 0;
}

static int
read_token(const struct reader *r, struct value *value)
{
	const char *text = r->node->text;

	if (check_string(r, "a word") == -1)
		return -1;
	if (!header_is_token(text, strlen(text))) {
		faults_add(r->faults, &r->node->place,
		    "%s: \"%.64s\" is no word of letters, digits and "
		    "!#$%%&'*+-.^_`|~",
		    r->key->name, text);
		return -1;
	}
	value->text = mem_strdup(text);
	return 0;
}

/* What a database may have as a name is up to it; what none has, and what
 * would be misread in its files, is refused. */
static int
read_account(const struct reader *r, struct value *value)
{
	const char *text = r->node->text;

	if (check_string(r, "a name or a number") == -1)
		return -1;
	if (strlen(text) > KEYS_NAME_BYTES || strpbrk(text, " :/,") != NULL ||
	    strchr("+-", text[0]) != NULL) {
		faults_add(r->faults, &r->node->place,
		    "%s: \"%.64s\" cannot be a name or a number", r->key->name,
		    text);
		return -1;
	}
	value->text = mem_strdup(text);
	return 0;
}

static int
read_file(const struct reader *r, struct value *value)
{
	const char *text = r->node->text;

	if (check_string(r, "a path") == -1)
		return -1;
	value->text = path_join(r->base, text);
	return 0;
}

static int
read_url(const struct reader *r,
    bool (*check)(const char *url, const char **why), struct value *value)
{
	const char *why;

	if (check_string(r, "a url") == -1)
		return -1;
	if (!check(r->node->text, &why)) {
		faults_add(
		    r->faults, &r->node->place, "%s: %s", r->key->name, why);
		return -1;
	}
	value->text = mem_strdup(r->node->text);
	return 0;
}

static int
read_secret(const struct reader *r, struct value *value)
{
	const char *text = r->node->text;
	size_t ignored;

	if (check_string(r, "text with ${env:NAME} in it") == -1)
		return -1;
	/* The text is not repeated: it may be the secret. */
	if (envtext_fault(text, &ignored) != NULL || !envtext_is_used(text)) {
		faults_add(r->faults, &r->node->place,
		    "%s: a secret does not belong here, where every user of "
		    "the machine can read it; put it into the environment and "
		    "write ${env:NAME}, or into a file and name it with %s",
		    r->key->name, r->key->instead);
		return -1;
	}
	value->text = mem_strdup(text);
	return 0;
}

static int
read_word(const struct reader *r, struct value *value)
{
	const char *const *word = r->key->words;
	char known[WORDS_BYTES] = "";

	if (r->node->kind != TREE_SCALAR) {
		refuse_type(r, "a word");
		return -1;
	}
	for (; *word != NULL && strcmp(*word, r->node->text) != 0; word++)
		add_word(known, *word);
	if (*word == NULL) {
		faults_add(r->faults, &r->node->place,
		    "%s: \"%.64s\" is unknown; known: %s", r->key->name,
		    r->node->text, known);
		return -1;
	}
	value->text = mem_strdup(*word);
	return 0;
}

static int
read_sync(const struct reader *r, struct value *value)
{
	static const char interval[] = "interval:";
	const char *text = r->node->text;
	uint64_t ms;

	if (r->node->kind != TREE_SCALAR) {
		refuse_type(r, "a word");
		return -1;
	}
	if (strcmp(text, "always") != 0 && strcmp(text, "never") != 0 &&
	    (strncmp(text, interval, sizeof(interval) - 1) != 0 ||
		number_parse(
		    text + sizeof(interval) - 1, 1, SYNC_MAX_MS, &ms) == -1)) {
		faults_add(r->faults, &r->node->place,
		    "%s: always, never or interval:MS is expected, with 1 to "
		    "%d ms",
		    r->key->name, SYNC_MAX_MS);
		return -1;
	}
	value->text = mem_strdup(text);
	return 0;
}

static int
read_count(const struct reader *r, struct value *value)
{
	const struct key *key = r->key;
	const char *text = r->node->text;
	char wanted[WORDS_BYTES];

	/* A leading zero is octal to some readers of YAML: take neither. */
	if (r->node->kind == TREE_SCALAR && !r->node->is_quoted &&
	    !(text[0] == '0' && text[1] != '\0') &&
	    number_parse(text, key->min, key->max, &value->number) == 0)
		return 0;
	(void)snprintf(wanted, sizeof(wanted),
	    "a whole number of %s from %" PRIu64 " to %" PRIu64, key->unit,
	    key->min, key->max);
	refuse_type(r, wanted);
	return -1;
}

static int
read_seconds(const struct reader *r, struct value *value)
{
	const struct key *key = r->key;
	char wanted[WORDS_BYTES];

	if (tree_is_number(r->node) &&
	    number_parse_seconds(
		r->node->text, key->min, key->max, &value->number) == 0)
		return 0;
	(void)snprintf(wanted, sizeof(wanted),
	    "a number of seconds from %.15g to %.15g, with at most 3 decimals,",
	    (double)key->min / 1000, (double)key->max / 1000);
	refuse_type(r, wanted);
	return -1;
}

static int
read_bool(const struct reader *r, struct value *value)
{
	bool truth;

	if (!tree_is_bool(r->node, &truth)) {
		refuse_type(r, "true or false");
		return -1;
	}
	value->number = truth;
	return 0;
}

/* A list or a map is only checked for being one: its reader does the rest. */
static int
check_kind(const struct reader *r, enum tree_kind kind)
{
	if (r->node->kind == kind)
		return 0;
	refuse_type(r, kind == TREE_LIST ? "a list" : "a map");
	return -1;
}

static int
read_value(const struct reader *r, struct value *value)
{
	switch (r->key->type) {
	case KEY_NAME:
		return read_name(r, value);
	case KEY_TOKEN:
		return read_token(r, value);
	case KEY_ACCOUNT:
		return read_account(r, value);
	case KEY_FILE:
		return read_file(r, value);
	case KEY_URL:
		return read_url(r, url_check, value);
	case KEY_PROXY:
		return read_url(r, url_proxy_check, value);
	case KEY_SECRET:
		return read_secret(r, value);
	case KEY_WORD:
		return read_word(r, value);
	case KEY_SYNC:
		return read_sync(r, value);
	case KEY_COUNT:
		return read_count(r, value);
	case KEY_SECONDS:
		return read_seconds(r, value);
	case KEY_BOOL:
		return read_bool(r, value);
	case KEY_LIST:
		return check_kind(r, TREE_LIST);
	case KEY_MAP:
		return check_kind(r, TREE_MAP);
	}
	return -1;
}

/* Reads the entry `r->node` of a map, whose key is in the table. */
static int
read_entry(const struct reader *r, void *out)
{
	struct value *value = NULL, fresh;
	struct place first;

	if (!has_value(r->key))
		return read_value(r, NULL);
	value = value_of(r->key, out);
	if (value->is_given) {
		first = value->place;
		faults_add(r->faults, &r->node->key_place,
		    "%s is given twice, first at %s:%zu:%zu", r->key->name,
		    first.file, first.line, first.column);
		return -1;
	}
	fresh = (struct value){.is_given = true, .place = r->node->place};
	if (read_value(r, &fresh) == -1)
		return -1;
	free(value->text);
	*value = fresh;
	return 0;
}

static const struct key *
find_key(const struct key *keys, const char *name)
{
	for (; keys->name != NULL; keys++)
		if (strcmp(keys->name, name) == 0)
			return keys;
	return NULL;
}

static void
refuse_unknown(
    const struct key *keys, const struct tree_node *node, struct faults *faults)
{
	char known[WORDS_BYTES] = "";

	for (; keys->name != NULL; keys++)
		add_word(known, keys->name);
	faults_add(faults, &node->key_place,
	    "the key \"%.64s\" is unknown here; known: %s", node->key,
	    known[0] == '\0' ? "none" : known);
}

static void
set_default(const struct key *key, const struct tree_node *map, void *out)
{
	struct value *value = value_of(key, out);

	if (value->is_given)
		return;
	free(value->text);
	*value = (struct value){.place = map->place, .number = key->fallback};
	if (key->fallback_text != NULL)
		value->text = mem_strdup(key->fallback_text);
}

bool
keys_read(enum key_set set, const struct tree_node *map, const char *base,
    void *out, struct faults *faults)
{
	const struct key *keys = keys_of(set);
	bool is_good = true;

	for (const struct key *key = keys; key->name != NULL; key++) {
		if (has_value(key))
			set_default(key, map, out);
		if (!key->is_required || tree_find(map, key->name) != NULL)
			continue;
		faults_add(faults, &map->place, "the key \"%s\" is missing",
		    key->name);
		is_good = false;
	}
	for (size_t i = 0; i < map->count; i++) {
		const struct tree_node *node = &map->items[i];
		struct reader r = {
		    .key = find_key(keys, node->key),
		    .node = node,
		    .base = base,
		    .faults = faults,
		};

		/* Given twice in this map: the tree has said so. */
		if (tree_find(map, node->key) != node)
			continue;
		if (r.key == NULL)
			refuse_unknown(keys, node, faults);
		if (r.key == NULL || read_entry(&r, out) == -1)
			is_good = false;
	}
	return is_good;
}

void
keys_fini(enum key_set set, void *out)
{
	for (const struct key *key = keys_of(set); key->name != NULL; key++) {
		struct value *value;

		if (!has_value(key))
			continue;
		value = value_of(key, out);
		free(value->text);
		value->text = NULL;
	}
}
