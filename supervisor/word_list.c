#include "supervisor/word_list.h"

#include "stage/mem.h"
#include "supervisor/path.h"

#include <stdlib.h>
#include <string.h>

/* Returns the word at `index`, which the caller frees, or NULL: then a fault
 * was added. */
static char *
word_of(const struct tree_node *node, size_t index, const char *base,
    struct faults *faults)
{
	char got[TREE_DESCRIBE_BYTES];

	if (node->kind != TREE_SCALAR || tree_is_null(node)) {
		faults_add(faults, &node->place,
		    "command: a word is expected here, not %s",
		    tree_describe(node, got));
		return NULL;
	}
	if (index > 0)
		return mem_strdup(node->text);
	if (node->text[0] == '\0') {
		faults_add(faults, &node->place,
		    "command: the program's name is empty");
		return NULL;
	}
	if (strchr(node->text, '/') == NULL)
		return mem_strdup(node->text);
	return path_join(base, node->text);
}

void
word_list_read(struct word_list *list, const struct tree_node *node,
    const char *base, struct faults *faults)
{
	size_t bytes = 0;

	if (node->count == 0 || node->count > WORD_LIST_MAX_WORDS) {
		faults_add(faults, &node->place,
		    "command: a list of 1 to %d words is expected here",
		    WORD_LIST_MAX_WORDS);
		return;
	}
	list->place = node->items[0].place;
	list->words = mem_calloc(node->count, sizeof(*list->words));
	for (size_t i = 0; i < node->count; i++) {
		char *word = word_of(&node->items[i], i, base, faults);

		if (word == NULL)
			return;
		list->words[list->count++] = word;
		bytes += strlen(word) + 1;
	}
	if (bytes >= WORD_LIST_MAX_BYTES)
		faults_add(faults, &node->place,
		    "command: the words are %zu bytes long together; a "
		    "command has less than %zu",
		    bytes, WORD_LIST_MAX_BYTES);
}

void
word_list_fini(struct word_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->words[i]);
	free(list->words);
	*list = (struct word_list){0};
}
