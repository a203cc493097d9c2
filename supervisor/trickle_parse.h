/*
 * What the parts of the reader of queries share: the current token, how to go
 * on to the next, and how to refuse it. Each call that returns -1 has added a
 * fault; the first one ends the reading of a file.
 */
#ifndef SUPERVISOR_TRICKLE_PARSE_H
#define SUPERVISOR_TRICKLE_PARSE_H

#include "supervisor/trickle_lex.h"

#include <stdbool.h>
#include <stddef.h>

/* A module that "use" has named. */
struct trickle_module {
	char *path;  /* owned; "tremor::system" */
	char *alias; /* owned; what calls begin with, "system" */
};

struct trickle_parser {
	struct trickle_lexer lexer;
	struct trickle_token token;	/* the current one */
	struct faults *faults;		/* borrowed */
	struct trickle_module *modules; /* owned */
	size_t module_count;
};

/* Takes the first token of `in`, which passed text_check. All is borrowed, and
 * trickle_parse_fini is to be called in any case. */
int trickle_parse_init(struct trickle_parser *parser, const char *name,
    const uint8_t *in, size_t in_bytes, struct faults *faults);

void trickle_parse_fini(struct trickle_parser *parser);

/* Goes on to the next token. */
int trickle_parse_next(struct trickle_parser *parser);

/* Says whether the current token is that reserved word, symbol, or name. */
bool trickle_parse_is_word(
    const struct trickle_parser *parser, const char *word);
bool trickle_parse_is_symbol(
    const struct trickle_parser *parser, const char *symbol);
bool trickle_parse_is_name(
    const struct trickle_parser *parser, const char *name);

/* Goes on behind that word or symbol, or refuses the current token. */
int trickle_parse_word(struct trickle_parser *parser, const char *word);
int trickle_parse_symbol(struct trickle_parser *parser, const char *symbol);

/*
 * Takes a name, which the caller frees, and its place, and goes on. `what` is
 * what it would be the name of.
 */
int trickle_parse_name(struct trickle_parser *parser, const char *what,
    char **name, struct place *place);

/*
 * Refuses the current token: `wanted` is expected in its place. Where it is a
 * part of the language that is not supported that is said instead. Returns -1.
 */
int trickle_parse_refuse(struct trickle_parser *parser, const char *wanted);

/* Refuses the current token as "WHAT is not supported". Returns -1. */
int trickle_parse_unsupported(struct trickle_parser *parser, const char *what);

#endif
