//! `table.sort`: Luau's own for small tables; for large ones a merge sort in Lua, which is watched at every step as all Lua code is.
//!
//! Luau's sort is one call: of a table with millions of values it would take seconds in which the script could neither be
//! suspended nor killed. The merge sort leaves the table as it was until all is in order.

use super::lua::{Raise, Stack};

/// What errors in it call the chunk: never where a script failed.
pub(super) const CHUNK: &str = "=table.sort";

/// Gets Luau's `table.sort` and `table.create`, and gives `sort`.
const SOURCE: &[u8] = br"
local sort, create = ...
local SMALL = 4096
return function(values, less)
  local count = type(values) == 'table' and rawlen(values) or 0
  if count <= SMALL or less ~= nil and type(less) ~= 'function' then
    return sort(values, less)
  end
  local from, to = create(count), create(count)
  for at = 1, count do
    from[at] = values[at]
  end
  local width = 1
  while width < count do
    for start = 1, count, 2 * width do
      local left, right = start, start + width
      local middle, stop = right, start + 2 * width
      if middle > count + 1 then middle = count + 1 end
      if stop > count + 1 then stop = count + 1 end
      for at = start, stop - 1 do
        local takes_right = false
        if left >= middle then
          takes_right = true
        elseif right < stop then
          if less then
            takes_right = less(from[right], from[left])
          else
            takes_right = from[right] < from[left]
          end
        end
        if takes_right then
          to[at] = from[right]
          right = right + 1
        else
          to[at] = from[left]
          left = left + 1
        end
      end
    end
    from, to = to, from
    width = 2 * width
  end
  for at = 1, count do
    values[at] = from[at]
  end
end
";

/// Puts `sort` into the table on top, in place of Luau's; `library` is Luau's own `table`.
///
/// # Errors
/// There is no memory for it.
pub(super) fn install(stack: &mut Stack, library: i32) -> Result<(), Raise> {
    stack.load(SOURCE, c"=table.sort")?;
    stack.raw_get_field(library, c"sort");
    stack.raw_get_field(library, c"create");
    stack.invoke(2, 1);
    stack.raw_set_field(-2, c"sort");
    Ok(())
}
