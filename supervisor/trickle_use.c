#include "supervisor/trickle_use.h"

#include "stage/mem.h"
#include "supervisor/trickle.h"

#include <stdlib.h>
#include <string.h>

/* A function that has a placeholder. */
struct function {
	const char *path;
	const char *placeholder;
	bool is_number; /* it is one only where it is all of a value */
};

static const struct function functions[] = {
    {"tremor::system::hostname", "${hostname}", false},
    {"tremor::system::instance", "${instance}", false},
    {"tremor::system::ingest_ns", "${ingest_ns}", true},
};

int
trickle_use_path(struct trickle_parser *parser, const char *what, char **path,
    struct place *place)
{
	if (trickle_parse_name(parser, what, path, place) == -1)
		return -1;
	while (trickle_parse_is_symbol(parser, "::")) {
		struct place ignored;
		char *name, *longer;

		if (trickle_parse_next(parser) == -1 ||
		    trickle_parse_name(parser, what, &name, &ignored) == -1) {
			free(*path);
			*path = NULL;
			return -1;
		}
		longer = mem_printf("%s::%s", *path, name);
		free(*path);
		free(name);
		*path = longer;
	}
	return 0;
}

/* Says whether `path` is the module `module` or in it. */
static bool
is_within(const char *path, const char *module)
{
	size_t bytes = strlen(module);

	return strncmp(path, module, bytes) == 0 &&
	       (path[bytes] == '\0' || path[bytes] == ':');
}

/* Remembers a module, which is owned from here on. */
static void
add_module(struct trickle_parser *parser, char *path, char *alias)
{
	parser->modules = mem_realloc(parser->modules, parser->module_count + 1,
	    sizeof(*parser->modules));
	parser->modules[parser->module_count++] =
	    (struct trickle_module){path, alias};
}

int
trickle_use_take(struct trickle_parser *parser)
{
	struct place place, ignored;
	char *path, *alias = NULL, *last;

	if (trickle_parse_next(parser) == -1)
		return -1;
	if (parser->module_count == TRICKLE_MAX_STATEMENTS) {
		faults_add(parser->faults, &parser->token.place,
		    "more than %d statements of one kind",
		    TRICKLE_MAX_STATEMENTS);
		return -1;
	}
	if (trickle_use_path(parser, "the name of a module", &path, &place) ==
	    -1)
		return -1;
	last = strrchr(path, ':');
	if (!trickle_parse_is_word(parser, "as")) {
		alias = mem_strdup(last == NULL ? path : last + 1);
	} else if (trickle_parse_next(parser) == -1 ||
		   trickle_parse_name(parser, "a name for the module", &alias,
		       &ignored) == -1) {
		free(path);
		return -1;
	}
	if (!is_within(path, "tremor") && !is_within(path, "std")) {
		faults_add(parser->faults, &place,
		    "the module %.100s is not supported; known: those in "
		    "tremor and std",
		    path);
		free(path);
		free(alias);
		return -1;
	}
	add_module(parser, path, alias);
	return 0;
}

/* Returns the path of a function with the module that "use" has named in the
 * place of its alias; the caller frees it. */
static char *
resolve(const struct trickle_parser *parser, const char *path)
{
	size_t bytes = strcspn(path, ":");

	/* The last one counts, as in the language. */
	for (size_t i = parser->module_count; i-- > 0;) {
		const struct trickle_module *module = &parser->modules[i];

		if (path[bytes] == ':' && strlen(module->alias) == bytes &&
		    memcmp(module->alias, path, bytes) == 0)
			return mem_printf("%s%s", module->path, path + bytes);
	}
	return mem_strdup(path);
}

/* Returns the whole path of a function; the caller frees it. "system" needs no
 * "use". */
static char *
whole_path(const struct trickle_parser *parser, const char *path)
{
	char *resolved = resolve(parser, path), *whole;

	if (!is_within(resolved, "system"))
		return resolved;
	whole = mem_printf("tremor::%s", resolved);
	free(resolved);
	return whole;
}

static const struct function *
find_function(const struct trickle_parser *parser, const char *path)
{
	char *whole = whole_path(parser, path);
	const struct function *found = NULL;

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (strcmp(functions[i].path, whole) == 0)
			found = &functions[i];
	free(whole);
	return found;
}

/* Refuses a function, as what it is called where it is. */
static void
refuse_function(
    struct trickle_parser *parser, const char *path, const struct place *place)
{
	char *resolved = resolve(parser, path);

	faults_add(parser->faults, place,
	    "the function %.100s is not supported; known: system::hostname, "
	    "system::instance, system::ingest_ns",
	    resolved);
	free(resolved);
}

/* Says whether the function `path`, called at `place`, can stand here. */
static int
check_call(struct trickle_parser *parser, const char *path,
    const struct place *place, bool is_whole)
{
	const struct function *function = find_function(parser, path);

	if (!trickle_parse_is_symbol(parser, "("))
		faults_add(parser->faults, place,
		    "the name %.100s is not supported: a value is a literal "
		    "or the call of a function",
		    path);
	else if (function == NULL)
		refuse_function(parser, path, place);
	else if (function->is_number && !is_whole)
		faults_add(parser->faults, place,
		    "%.100s within a record or an array cannot be expressed: "
		    "it would be a string there",
		    path);
	else
		return 0;
	return -1;
}

int
trickle_use_call(
    struct trickle_parser *parser, bool is_whole, struct tree_node *node)
{
	struct place place;
	char *path;

	if (trickle_use_path(parser, "a name", &path, &place) == -1)
		return -1;
	if (check_call(parser, path, &place, is_whole) == -1) {
		free(path);
		return -1;
	}
	node->kind = TREE_SCALAR;
	node->place = place;
	node->is_quoted = true;
	node->text = mem_strdup(find_function(parser, path)->placeholder);
	free(path);
	if (trickle_parse_next(parser) == -1)
		return -1;
	return trickle_parse_symbol(parser, ")");
}
