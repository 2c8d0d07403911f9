//! HRANDFIELD: fields at random.

use super::{BASE, clock};
use crate::command::sample::{Draw, Wanted, distinct};
use crate::command::{Args, Arity, Call, Command, CommandError, Flags, Reply, Spec};
use crate::value::HashView;
use crate::value::hash::{Field, Picker};

/// So often is a field drawn that turns out to be dead, before all live ones are counted.
const TRIES: usize = 100;

/// `HRANDFIELD`.
pub(super) static HRANDFIELD: Command = Command {
    spec: Spec {
        name: "HRANDFIELD",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        since: "6.2.0",
        summary: "Returns random fields of a hash.",
        complexity: "O(N) where N is the number of fields returned",
        syntax: "key [count [WITHVALUES]]",
        ..BASE
    },
    run: hrandfield,
};

fn hrandfield(call: &mut Call<'_>, args: &Args<'_>, reply: &mut dyn Reply) -> Result<(), CommandError> {
    let key = call.key(args, 1);
    let now_ms = clock(call);
    let mut draw = Draw::new(call.engine);
    if args.len() == 2 {
        let field = call.read_hash(key)?.and_then(|hash| Live::new(hash, now_ms).draw(&mut draw));
        match field {
            Some(field) => reply.element(field.name),
            None => reply.null(),
        }
        return Ok(());
    }
    let count = args.integer(2)?;
    let with_values = args.len() == 4 && args.is(3, "WITHVALUES");
    let range_first = Wanted::parse(count, false)?;
    if args.len() > 3 && !with_values {
        return Err(CommandError::Syntax);
    }
    let wanted = if with_values { Wanted::parse(count, true)? } else { range_first };
    let Some(hash) = call.read_hash(key)? else {
        reply.array(0);
        return Ok(());
    };
    let mut live = Live::new(hash, now_ms);
    match wanted {
        Wanted::Different(count) => {
            let fields = live.different(count, &mut draw);
            begin(reply, fields.len(), with_values);
            fields.iter().for_each(|field| write(reply, field, with_values));
        }
        // Whether there is any is known only by one.
        Wanted::Any(count) => match live.draw(&mut draw).filter(|_| count > 0) {
            None => reply.array(0),
            Some(first) => {
                begin(reply, count, with_values);
                write(reply, &first, with_values);
                (1..count).filter_map(|_| live.draw(&mut draw)).for_each(|field| write(reply, &field, with_values));
            }
        },
    }
    Ok(())
}

fn begin(reply: &mut dyn Reply, fields: usize, with_values: bool) {
    let flat = with_values && reply.protocol() == 2;
    reply.array(if flat { fields * 2 } else { fields });
}

fn write(reply: &mut dyn Reply, field: &Field<'_>, with_values: bool) {
    if with_values && reply.protocol() > 2 {
        reply.array(2);
    }
    reply.element(field.name);
    if with_values {
        reply.element(field.value);
    }
}

/// Live fields by number.
struct Live<'a> {
    hash: HashView<'a>,
    now_ms: u64,
    picker: Picker<'a>,
    /// Numbers of the live fields, once too many were found dead by drawing.
    numbers: Option<Vec<usize>>,
}

impl<'a> Live<'a> {
    fn new(hash: HashView<'a>, now_ms: u64) -> Self {
        Live { hash, now_ms, picker: hash.picker(), numbers: None }
    }

    fn count(&mut self) -> &[usize] {
        let now_ms = self.now_ms;
        let hash = self.hash;
        self.numbers.get_or_insert_with(|| {
            hash.fields().enumerate().filter(|(_, field)| !field.is_dead(now_ms)).map(|(number, _)| number).collect()
        })
    }

    /// One of them; `None` if there is none.
    fn draw(&mut self, draw: &mut Draw) -> Option<Field<'a>> {
        if self.numbers.is_none() && !self.hash.is_empty() {
            for _ in 0..TRIES {
                let field = self.picker.nth(draw.below(self.hash.len()))?;
                if !field.is_dead(self.now_ms) {
                    return Some(field);
                }
            }
        }
        let numbers = self.count();
        let number = *numbers.get(draw.below(numbers.len().max(1)))?;
        self.picker.nth(number)
    }

    /// `count` different ones, or all if there are not more.
    fn different(&mut self, count: usize, draw: &mut Draw) -> Vec<Field<'a>> {
        let (len, now_ms) = (self.hash.len(), self.now_ms);
        if count >= len {
            return self.hash.live_fields(now_ms).collect();
        }
        if count == 1 {
            return self.draw(draw).into_iter().collect();
        }
        let drawn = distinct(len, count, draw);
        let fields: Vec<_> = drawn.iter().filter_map(|&number| self.picker.nth(number)).collect();
        if !fields.iter().any(|field| field.is_dead(now_ms)) {
            return fields;
        }
        // Some are dead: draw among the live ones, which have to be counted for that.
        let live = self.count().len();
        let places = distinct(live, count, draw);
        let numbers: Vec<usize> = places.iter().map(|&place| self.count()[place]).collect();
        numbers.iter().filter_map(|&number| self.picker.nth(number)).collect()
    }
}
