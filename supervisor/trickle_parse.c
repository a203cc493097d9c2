#include "supervisor/trickle_parse.h"

#include "stage/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for what a token is called in a fault. */
#define TOKEN_BYTES 128

int
trickle_parse_init(struct trickle_parser *parser, const char *name,
    const uint8_t *in, size_t in_bytes, struct faults *faults)
{
	*parser = (struct trickle_parser){.faults = faults};
	trickle_lex_init(&parser->lexer, name, in, in_bytes, faults);
	return trickle_parse_next(parser);
}

void
trickle_parse_fini(struct trickle_parser *parser)
{
	for (size_t i = 0; i < parser->module_count; i++) {
		free(parser->modules[i].path);
		free(parser->modules[i].alias);
	}
	free(parser->modules);
	free(parser->token.text);
	*parser = (struct trickle_parser){0};
}

int
trickle_parse_next(struct trickle_parser *parser)
{
	free(parser->token.text);
	parser->token.text = NULL;
	if (trickle_lex_next(&parser->lexer, &parser->token) == 0)
		return 0;
	parser->token.text = NULL;
	return -1;
}

static bool
is_token(const struct trickle_parser *parser, enum trickle_kind kind,
    const char *text)
{
	return parser->token.kind == kind &&
	       strcmp(parser->token.text, text) == 0;
}

bool
trickle_parse_is_word(const struct trickle_parser *parser, const char *word)
{
	return is_token(parser, TRICKLE_WORD, word);
}

bool
trickle_parse_is_symbol(const struct trickle_parser *parser, const char *symbol)
{
	return is_token(parser, TRICKLE_SYMBOL, symbol);
}

bool
trickle_parse_is_name(const struct trickle_parser *parser, const char *name)
{
	return is_token(parser, TRICKLE_NAME, name);
}

/* Writes what the current token is for the reader of a fault. */
static const char *
describe(const struct trickle_token *token, char out[TOKEN_BYTES])
{
	switch (token->kind) {
	case TRICKLE_END:
		(void)snprintf(out, TOKEN_BYTES, "the end of the file");
		break;
	case TRICKLE_NAME:
		(void)snprintf(
		    out, TOKEN_BYTES, "the name \"%.64s\"", token->text);
		break;
	case TRICKLE_WORD:
		(void)snprintf(out, TOKEN_BYTES, "the reserved word \"%.64s\"",
		    token->text);
		break;
	case TRICKLE_STRING:
		(void)snprintf(
		    out, TOKEN_BYTES, "the string \"%.64s\"", token->text);
		break;
	case TRICKLE_INTEGER:
	case TRICKLE_FLOAT:
		(void)snprintf(out, TOKEN_BYTES, "%.64s", token->text);
		break;
	case TRICKLE_SYMBOL:
		(void)snprintf(out, TOKEN_BYTES, "\"%.64s\"", token->text);
		break;
	}
	return out;
}

int
trickle_parse_unsupported(struct trickle_parser *parser, const char *what)
{
	faults_add(
	    parser->faults, &parser->token.place, "%s is not supported", what);
	return -1;
}

/* Says whether `text` is one of `list`, which NULL ends. */
static bool
is_one_of(const char *const *list, const char *text)
{
	while (*list != NULL && strcmp(*list, text) != 0)
		list++;
	return *list != NULL;
}

/* Refuses a part of the language that is not supported; 0: it is none. */
static int
refuse_part(struct trickle_parser *parser)
{
	static const char *const words[] = {"args", "const", "copy", "default",
	    "drop", "each", "emit", "fn", "for", "having", "intrinsic", "let",
	    "match", "mod", "move", "order", "recur", "script", "set",
	    "sliding", "state", "tumbling", "when", "where", "window", NULL};
	static const char *const operator_words[] = {
	    "absent", "and", "not", "or", "present", "xor", NULL};
	static const char *const operators[] = {"+", "-", "*", "/", "%", "&",
	    "^", "|", "!", "~", "<", ">", "<=", ">=", "==", "!=", "~=", "<<",
	    ">>", ">>>", ".", "...", "%{", "%[", "%(", NULL};
	const struct trickle_token *token = &parser->token;
	char what[TOKEN_BYTES];

	if (trickle_parse_is_word(parser, "group"))
		return trickle_parse_unsupported(parser, "\"group by\"");
	if (trickle_parse_is_symbol(parser, "$"))
		return trickle_parse_unsupported(parser, "metadata (\"$\")");
	if (trickle_parse_is_symbol(parser, "("))
		return trickle_parse_unsupported(parser, "\"(\"");
	if ((token->kind == TRICKLE_WORD &&
		is_one_of(operator_words, token->text)) ||
	    (token->kind == TRICKLE_SYMBOL &&
		is_one_of(operators, token->text)))
		(void)snprintf(
		    what, sizeof(what), "the operator \"%.64s\"", token->text);
	else if (token->kind == TRICKLE_WORD && is_one_of(words, token->text))
		(void)snprintf(what, sizeof(what), "\"%.64s\"", token->text);
	else
		return 0;
	return trickle_parse_unsupported(parser, what);
}

/* Refuses the current token, whatever it may be elsewhere. */
static int
refuse_plain(struct trickle_parser *parser, const char *wanted)
{
	char got[TOKEN_BYTES];

	faults_add(parser->faults, &parser->token.place,
	    "%s is expected here, not %s", wanted,
	    describe(&parser->token, got));
	return -1;
}

int
trickle_parse_refuse(struct trickle_parser *parser, const char *wanted)
{
	return refuse_part(parser) == -1 ? -1 : refuse_plain(parser, wanted);
}

int
trickle_parse_word(struct trickle_parser *parser, const char *word)
{
	char wanted[TOKEN_BYTES];

	if (trickle_parse_is_word(parser, word))
		return trickle_parse_next(parser);
	(void)snprintf(wanted, sizeof(wanted), "\"%s\"", word);
	return trickle_parse_refuse(parser, wanted);
}

int
trickle_parse_symbol(struct trickle_parser *parser, const char *symbol)
{
	char wanted[TOKEN_BYTES];

	if (trickle_parse_is_symbol(parser, symbol))
		return trickle_parse_next(parser);
	(void)snprintf(wanted, sizeof(wanted), "\"%s\"", symbol);
	return trickle_parse_refuse(parser, wanted);
}

int
trickle_parse_name(struct trickle_parser *parser, const char *what, char **name,
    struct place *place)
{
	if (parser->token.kind != TRICKLE_NAME)
		return refuse_plain(parser, what);
	*name = mem_strdup(parser->token.text);
	*place = parser->token.place;
	if (trickle_parse_next(parser) == 0)
		return 0;
	free(*name);
	*name = NULL;
	return -1;
}
