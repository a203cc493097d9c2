/*
 * What a query selects: the event as it is, or with operations done to it, as a
 * list of them that the YAML's `patch` has too.
 */
#ifndef SUPERVISOR_TRICKLE_PATCH_H
#define SUPERVISOR_TRICKLE_PATCH_H

#include "supervisor/tree.h"
#include "supervisor/trickle_parse.h"

/*
 * Takes what stands behind "select": "event", "patch event of ... end" or
 * "merge event of ... end". Its operations are put into `list`, which is empty
 * and becomes a list.
 */
int trickle_patch_take(struct trickle_parser *parser, struct tree_node *list);

#endif
