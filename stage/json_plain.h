/*
 * The check of stage/json.h byte by byte, one function for each rule of the
 * grammar. It says what is wrong and where; json_check, which is the fast one,
 * asks it when something is. The two accept the same: t/check_json_same.c.
 */
#ifndef STAGE_JSON_PLAIN_H
#define STAGE_JSON_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As json_check. */
bool json_plain_check(
    const uint8_t *in, size_t in_bytes, const char **why, size_t *at);

#endif
