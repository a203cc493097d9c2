/*
 * Integers as bytes, big-endian, as every format of ours has them. No struct
 * is ever copied to disk or wire.
 */
#ifndef STAGE_BYTES_H
#define STAGE_BYTES_H

#include <stdint.h>

static inline void
put_be16(uint8_t *to, uint16_t v)
{
	to[0] = (uint8_t)(v >> 8);
	to[1] = (uint8_t)v;
}

static inline void
put_be32(uint8_t *to, uint32_t v)
{
	put_be16(to, (uint16_t)(v >> 16));
	put_be16(to + 2, (uint16_t)v);
}

static inline void
put_be64(uint8_t *to, uint64_t v)
{
	put_be32(to, (uint32_t)(v >> 32));
	put_be32(to + 4, (uint32_t)v);
}

static inline uint16_t
get_be16(const uint8_t *from)
{
	return (uint16_t)(from[0] << 8 | from[1]);
}

static inline uint32_t
get_be32(const uint8_t *from)
{
	return (uint32_t)get_be16(from) << 16 | get_be16(from + 2);
}

static inline uint64_t
get_be64(const uint8_t *from)
{
	return (uint64_t)get_be32(from) << 32 | get_be32(from + 4);
}

#endif
