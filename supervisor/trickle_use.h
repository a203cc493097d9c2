/*
 * Modules of the language and the functions in them: "use", and calls. The few
 * functions that a pipeline can express are placeholders there; all others are
 * refused by name.
 */
#ifndef SUPERVISOR_TRICKLE_USE_H
#define SUPERVISOR_TRICKLE_USE_H

#include "supervisor/tree.h"
#include "supervisor/trickle_parse.h"

/* Takes "use" and what belongs to it. */
int trickle_use_take(struct trickle_parser *parser);

/*
 * Takes a call, whose name begins with the current token, into the scalar
 * `node`. `is_whole`: the call is all of a value, not a part of it.
 */
int trickle_use_call(
    struct trickle_parser *parser, bool is_whole, struct tree_node *node);

/*
 * Takes names with "::" between them into *path, which the caller frees, and
 * sets *place to where they begin.
 */
int trickle_use_path(struct trickle_parser *parser, const char *what,
    char **path, struct place *place);

#endif
