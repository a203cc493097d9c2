/*
 * The words of a query: bytes in, tokens with their places out. It knows which
 * words are reserved and nothing of how they follow each other. What cannot be
 * a token, and what the language has as one and we do not (heredocs,
 * interpolation in strings, directives), is a fault. Pure.
 */
#ifndef SUPERVISOR_TRICKLE_LEX_H
#define SUPERVISOR_TRICKLE_LEX_H

#include "supervisor/faults.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trickle_kind {
	TRICKLE_END,	 /* of the file */
	TRICKLE_NAME,	 /* an identifier, bare or in backticks */
	TRICKLE_WORD,	 /* a reserved word */
	TRICKLE_STRING,	 /* what is between the quotes, escapes replaced */
	TRICKLE_INTEGER, /* up to 2^64-1, in decimal, as JSON has it */
	TRICKLE_FLOAT,	 /* as JSON has it */
	TRICKLE_SYMBOL,	 /* one to three characters */
};

struct trickle_token {
	enum trickle_kind kind;
	struct place place;
	char *text; /* owned; not NULL */
};

struct trickle_lexer {
	const uint8_t *in; /* borrowed; UTF-8 without NUL */
	size_t in_bytes;
	size_t at; /* the next byte */
	struct place place;
	struct faults *faults;
};

/* Starts at the front of `in`, which passed text_check. All is borrowed. */
void trickle_lex_init(struct trickle_lexer *lexer, const char *name,
    const uint8_t *in, size_t in_bytes, struct faults *faults);

/*
 * Takes the next token. Returns 0 with *token set, whose text the caller frees;
 * or -1: a fault was added, and no more can be taken.
 */
int trickle_lex_next(struct trickle_lexer *lexer, struct trickle_token *token);

/* Says whether `text` is a reserved word. */
bool trickle_lex_is_word(const char *text);

#endif
