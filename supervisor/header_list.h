/*
 * The headers that a configuration gives to a sink. None of them is secret:
 * what is, stands as ${env:NAME} in them and is expanded by the sink. Pure.
 */
#ifndef SUPERVISOR_HEADER_LIST_H
#define SUPERVISOR_HEADER_LIST_H

#include "supervisor/faults.h"
#include "supervisor/tree.h"

#include <stddef.h>

/* Headers in one map; wssink adds those of files. */
#define HEADER_LIST_MAX 32
/* The longest header, as it is written. */
#define HEADER_LIST_BYTES 8192

struct header_list {
	char **headers; /* owned, as are the strings: "Name: value" */
	size_t count;
};

/*
 * Reads the map under `headers` into `list`, which is empty. What is wrong is
 * added to `faults`, without the value: it may be a secret.
 */
void header_list_read(struct header_list *list, const struct tree_node *map,
    struct faults *faults);

/* Frees the headers. */
void header_list_fini(struct header_list *list);

#endif
