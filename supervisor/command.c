#include "supervisor/command.h"

#include "stage/json.h"
#include "stage/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t
command_stages(enum stage_kind kind, const struct config_instance *instance)
{
	switch (kind) {
	case STAGE_COMMAND:
	case STAGE_SOURCE:
		return instance->binding->onramp_count;
	case STAGE_WAL:
		return 1;
	default:
		return instance->binding->offramp_count;
	}
}

const char *
command_stage_id(
    enum stage_kind kind, size_t index, const struct config_instance *instance)
{
	switch (kind) {
	case STAGE_COMMAND:
	case STAGE_SOURCE:
		return instance->binding->onramps[index]->id.text;
	case STAGE_WAL:
		return instance->binding->pipeline->id.text;
	default:
		return instance->binding->offramps[index]->id.text;
	}
}

/* Appends an argument, which the command owns from here on. */
static void
add_owned(struct command *command, char *argument)
{
	command->argv = mem_realloc(
	    command->argv, command->count + 2, sizeof(*command->argv));
	command->argv[command->count++] = argument;
	command->argv[command->count] = NULL;
}

static void
add(struct command *command, const char *argument)
{
	add_owned(command, mem_strdup(argument));
}

/* Returns a value as the option's argument. */
static char *
argument_of(const struct key *key, const struct value *value)
{
	if (key->type == KEY_COUNT)
		return mem_printf("%" PRIu64, value->number);
	if (key->type != KEY_SECONDS)
		return mem_strdup(value->text);
	if (value->number % 1000 == 0)
		return mem_printf("%" PRIu64, value->number / 1000);
	return mem_printf("%" PRIu64 ".%03" PRIu64, value->number / 1000,
	    value->number % 1000);
}

/* Appends the options that carry the values of one table at `in`. */
static void
add_options(struct command *command, enum key_set set, const void *in)
{
	for (const struct key *key = keys_of(set); key->name != NULL; key++) {
		const struct value *value;

		if (key->option == NULL)
			continue;
		value = keys_value(key, in);
		if (!value->is_given && !key->is_always_shown)
			continue;
		if (key->type == KEY_BOOL) {
			if (value->number != 0)
				add(command, key->option);
			continue;
		}
		add(command, key->option);
		add_owned(command, argument_of(key, value));
	}
}

/* Appends what is done to each event, in its order. */
static void
add_patch(struct command *command, const struct patch_list *list)
{
	static const char *const options[] = {
	    [PATCH_LIST_INSERT] = "--insert",
	    [PATCH_LIST_UPSERT] = "--upsert",
	    [PATCH_LIST_UPDATE] = "--update",
	    [PATCH_LIST_ERASE] = "--erase",
	    [PATCH_LIST_MERGE] = "--merge",
	    [PATCH_LIST_MERGE_EVENT] = "--merge-event",
	};
	_Static_assert(sizeof(options) / sizeof(options[0]) == PATCH_LIST_HOWS,
	    "an option is missing");

	for (size_t i = 0; i < list->count; i++) {
		const struct patch_list_field *field = &list->fields[i];

		add(command, options[field->how]);
		if (field->value == NULL)
			add(command, field->key);
		else if (field->key == NULL)
			add(command, field->value);
		else
			add_owned(command,
			    mem_printf("%s=%s", field->key, field->value));
	}
}

/* Appends the name of the program of ours that runs a stage. */
static void
add_program(struct command *command, const char *bin_dir, const char *name)
{
	add_owned(command, mem_printf("%s/%s", bin_dir, name));
}

static void
add_source(struct command *command, const struct config_onramp *onramp,
    const char *bin_dir)
{
	bool is_metronome = config_source_of(onramp) == CONFIG_METRONOME;

	add_program(command, bin_dir, is_metronome ? "metronome" : "onramp");
	if (!is_metronome)
		return;
	add_options(command, KEYS_METRONOME, onramp);
	add_options(command, KEYS_ONRAMP, onramp);
}

static void
add_wal(struct command *command, const struct config_instance *instance,
    const struct command_context *context)
{
	const struct config_pipeline *pipeline = instance->binding->pipeline;

	add_program(command, context->bin_dir, "walproc");
	add(command, "-d");
	add_owned(command, mem_printf("%s/%s/%s", context->state_dir,
			       instance->instance.text, pipeline->id.text));
	add(command, "--instance");
	add(command, instance->instance.text);
	add_options(command, KEYS_WAL, pipeline);
	add_patch(command, &pipeline->patch);
}

static void
add_sink(struct command *command, const struct config_offramp *offramp,
    const char *bin_dir)
{
	add_program(command, bin_dir, "wssink");
	add_options(command, KEYS_WS, offramp);
	for (size_t i = 0; i < offramp->headers.count; i++) {
		add(command, "-H");
		add(command, offramp->headers.headers[i]);
	}
}

/* Appends the words of the user; there are none but for exec. */
static void
add_words(struct command *command, const struct word_list *words)
{
	for (size_t i = 0; i < words->count; i++)
		add(command, words->words[i]);
}

void
command_init(struct command *command, enum stage_kind kind, size_t index,
    const struct config_instance *instance,
    const struct command_context *context)
{
	const struct config_binding *binding = instance->binding;

	*command = (struct command){0};
	switch (kind) {
	case STAGE_COMMAND:
		add_words(command, &binding->onramps[index]->command);
		return;
	case STAGE_SOURCE:
		add_source(command, binding->onramps[index], context->bin_dir);
		break;
	case STAGE_WAL:
		add_wal(command, instance, context);
		break;
	default:
		add_sink(command, binding->offramps[index], context->bin_dir);
		break;
	}
	if (context->is_sandboxed)
		add(command, "--sandbox");
	if (context->verbosity != NULL)
		add(command, context->verbosity);
}

void
command_fini(struct command *command)
{
	for (size_t i = 0; i < command->count; i++)
		free(command->argv[i]);
	free(command->argv);
	*command = (struct command){0};
}

char *
command_unset_variable(const struct command *command)
{
	static const char start[] = "${env:";

	for (size_t i = 0; i < command->count; i++) {
		const char *at = command->argv[i];

		while ((at = strstr(at, start)) != NULL) {
			char *name;

			at += strlen(start);
			name = mem_strndup(at, strcspn(at, "}"));
			if (getenv(name) == NULL)
				return name;
			free(name);
		}
	}
	return NULL;
}

/* Says whether a terminal, and a comment in YAML, would take the text as one
 * line. */
static bool
is_one_line(const char *text)
{
	/* U+0080 to U+009F, U+2028, U+2029, U+FEFF, U+FFFE and U+FFFF are text
	 * that some take for the end of a line, or for none at all. */
	static const char *const odd[] = {"\xe2\x80\xa8", "\xe2\x80\xa9",
	    "\xef\xbb\xbf", "\xef\xbf\xbe", "\xef\xbf\xbf"};

	if (!json_is_utf8(text, strlen(text)))
		return false;
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0';
	     p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			return false;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		if (strstr(text, odd[i]) != NULL)
			return false;
	return true;
}

/* Writes an argument as $'...', which shells read since POSIX.1-2024. */
static char *
put_escaped(char *out, const char *argument)
{
	out += sprintf(out, "$'");
	for (const unsigned char *p = (const unsigned char *)argument;
	     *p != '\0'; p++) {
		if (*p == '\n')
			out += sprintf(out, "\\n");
		else if (*p == '\t')
			out += sprintf(out, "\\t");
		else if (*p == '\'' || *p == '\\')
			out += sprintf(out, "\\%c", *p);
		else if (*p < 0x20 || *p >= 0x7f)
			out += sprintf(out, "\\%03o", *p);
		else
			*out++ = (char)*p;
	}
	*out++ = '\'';
	return out;
}

/* Writes one argument, quoted if need be, to `out`; returns its end. `out` has
 * room for 4 bytes for each of the argument, and 4 more. */
static char *
put_quoted(char *out, const char *argument)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz"
				    "0123456789_-./:=,@%+";
	size_t bytes = strlen(argument);

	if (bytes > 0 && strspn(argument, plain) == bytes) {
		memcpy(out, argument, bytes);
		return out + bytes;
	}
	if (!is_one_line(argument))
		return put_escaped(out, argument);
	*out++ = '\'';
	for (; *argument != '\0'; argument++) {
		if (*argument != '\'') {
			*out++ = *argument;
			continue;
		}
		memcpy(out, "'\\''", 4);
		out += 4;
	}
	*out++ = '\'';
	return out;
}

char *
command_quote(const struct command *command)
{
	size_t room = 1;
	char *line, *end;

	for (size_t i = 0; i < command->count; i++)
		room += 4 * strlen(command->argv[i]) + 5;
	line = end = mem_alloc(room);
	for (size_t i = 0; i < command->count; i++) {
		if (i > 0)
			*end++ = ' ';
		end = put_quoted(end, command->argv[i]);
	}
	*end = '\0';
	return line;
}
