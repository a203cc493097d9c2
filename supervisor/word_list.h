/*
 * The words of a command, as a list in a configuration has them. Pure: whether
 * there is such a program is not asked here.
 */
#ifndef SUPERVISOR_WORD_LIST_H
#define SUPERVISOR_WORD_LIST_H

#include "supervisor/faults.h"
#include "supervisor/tree.h"

#include <stddef.h>

/* Words in one command. */
#define WORD_LIST_MAX_WORDS 256
/* All words together, with the NULs behind them. */
#define WORD_LIST_MAX_BYTES ((size_t)128 << 10)

struct word_list {
	char **words; /* owned, as are the strings */
	size_t count;
	struct place place; /* where the first stands */
};

/*
 * Reads the list `node` into `list`, which is empty. Words are the scalars as
 * they stand in the file. The first, if it has a slash, is a path that starts
 * at the directory `base`, and is made absolute; else it is a name to be found
 * in PATH. What is wrong is added to `faults`.
 */
void word_list_read(struct word_list *list, const struct tree_node *node,
    const char *base, struct faults *faults);

/* Frees the words. */
void word_list_fini(struct word_list *list);

#endif
