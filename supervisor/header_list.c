#include "supervisor/header_list.h"

#include "stage/envtext.h"
#include "stage/header.h"
#include "stage/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Says whether the name tells that the value is a secret. */
static bool
is_secret(const char *name)
{
	static const char *const words[] = {"authorization", "cookie", "token",
	    "secret", "password", "api-key", "apikey"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(name, words[i]) != NULL)
			return true;
	return false;
}

/* Adds a fault. A name that cannot be one is not repeated: the secret may have
 * got into it. */
static void
refuse(const struct tree_node *node, const char *why, struct faults *faults)
{
	bool is_name = header_is_token(node->key, strlen(node->key));

	faults_add(faults, &node->place, "headers: \"%.64s\": %s",
	    is_name ? node->key : "...", why);
}

/* Returns what is wrong with a header, a sentence, or NULL. */
static const char *
fault_of(const char *name, const char *value, const char *header)
{
	size_t ignored;

	if (envtext_fault(value, &ignored) != NULL)
		return "a \"${\" that is no ${env:NAME}";
	if (strchr(name, ':') != NULL)
		return "a name has no \":\"";
	if (is_secret(name) && !envtext_is_used(value))
		return "a secret does not belong here, where every user of "
		       "the machine can read it; write ${env:NAME} and put it "
		       "into the environment, or into a file that is named "
		       "with header_file or bearer_auth_file";
	if (strlen(header) > HEADER_LIST_BYTES)
		return "the header is longer than 8192 bytes";
	return header_fault(header);
}

/* Returns the header, which the caller frees, or NULL: then a fault was
 * added. */
static char *
header_of(const struct tree_node *node, struct faults *faults)
{
	const char *why;
	char *header;

	if (node->kind != TREE_SCALAR || tree_is_null(node)) {
		refuse(node, "the value must be text", faults);
		return NULL;
	}
	header = mem_printf("%s: %s", node->key, node->text);
	why = fault_of(node->key, node->text, header);
	if (why == NULL)
		return header;
	refuse(node, why, faults);
	free(header);
	return NULL;
}

void
header_list_read(struct header_list *list, const struct tree_node *map,
    struct faults *faults)
{
	if (map->count > HEADER_LIST_MAX) {
		faults_add(faults, &map->place, "headers: more than %d",
		    HEADER_LIST_MAX);
		return;
	}
	list->headers = mem_calloc(map->count, sizeof(*list->headers));
	for (size_t i = 0; i < map->count; i++) {
		char *header = header_of(&map->items[i], faults);

		if (header != NULL)
			list->headers[list->count++] = header;
	}
}

void
header_list_fini(struct header_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->headers[i]);
	free(list->headers);
	*list = (struct header_list){0};
}
