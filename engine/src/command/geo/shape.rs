//! What geo searches look within: circles, boxes, polygons; and the cells of the grid that cover them.

use super::hash::{
    Area, Cell, LATITUDES, LONGITUDES, Point, STEP_MAX, arc, arc_on_parallel, degrees, distance, latitude_distance,
    vector,
};

/// A shape around a place; lengths in meters.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Shape {
    /// All within `radius`.
    Circle { center: Point, radius: f64 },
    /// All within half the width and half the height.
    Rectangle { center: Point, width: f64, height: f64 },
    /// All inside of the polygon; distances are measured from the middle of its corners.
    Polygon { center: Point, corners: Vec<Point> },
}

impl Shape {
    /// A polygon with these corners, at least one.
    pub(super) fn polygon(corners: Vec<Point>) -> Shape {
        let count = corners.len() as f64;
        let sum = corners
            .iter()
            .map(|corner| vector(*corner))
            .fold([0.0; 3], |sum: [f64; 3], next| std::array::from_fn(|axis| sum[axis] + next[axis]));
        let [x, y, z] = sum.map(|axis| axis / count);
        let center = Point { longitude: degrees(y.atan2(x)), latitude: degrees(z.atan2((x * x + y * y).sqrt())) };
        Shape::Polygon { center, corners }
    }

    fn center(&self) -> Point {
        match self {
            Shape::Circle { center, .. } | Shape::Rectangle { center, .. } | Shape::Polygon { center, .. } => *center,
        }
    }

    /// Meters from the middle to a place inside; `None` for one outside.
    pub(super) fn distance_inside(&self, point: Point) -> Option<f64> {
        let inside = match self {
            Shape::Circle { center, radius } => {
                let distance = distance(*center, point);
                return (distance <= *radius).then_some(distance);
            }
            Shape::Rectangle { center, width, height } => {
                latitude_distance(point.latitude, center.latitude) <= height / 2.0
                    && distance(point, Point { latitude: point.latitude, ..*center }) <= width / 2.0
            }
            Shape::Polygon { corners, .. } => is_inside(corners, point),
        };
        inside.then(|| distance(self.center(), point))
    }

    /// The smallest and largest longitude and latitude of anything in the shape, about: the longer parallel counts.
    fn bounds(&self) -> Area {
        let (center, half_width, half_height) = match self {
            Shape::Circle { center, radius } => (center, *radius, *radius),
            Shape::Rectangle { center, width, height } => (center, width / 2.0, height / 2.0),
            Shape::Polygon { corners, .. } => return bounds_of(corners),
        };
        let north = arc(half_height);
        let nearer_pole = if center.latitude < 0.0 { center.latitude - north } else { center.latitude + north };
        let east = arc_on_parallel(half_width, nearer_pole);
        Area {
            min: Point { longitude: center.longitude - east, latitude: center.latitude - north },
            max: Point { longitude: center.longitude + east, latitude: center.latitude + north },
        }
    }

    /// Meters from the middle that nothing in the shape is beyond.
    fn reach(&self, bounds: &Area) -> f64 {
        match self {
            Shape::Circle { radius, .. } => *radius,
            Shape::Rectangle { width, height, .. } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Shape::Polygon { center, .. } => {
                let Area { min, max } = *bounds;
                [
                    (min.longitude, max.latitude),
                    (max.longitude, max.latitude),
                    (min.longitude, min.latitude),
                    (max.longitude, min.latitude),
                ]
                .into_iter()
                .map(|(longitude, latitude)| distance(*center, Point { longitude, latitude }))
                .fold(0.0, f64::max)
            }
        }
    }

    /// The cells that cover the shape, in the order in which Redis looks through them: the middle one, then north, south, east, west and the
    /// corners. One that is the same as the one before it is left out.
    pub(super) fn cells(&self) -> Vec<Cell> {
        // The middle of a polygon around a pole may lie where the grid has no cells: the search begins in the outermost row then, less
        // than a cell from the edge. Valkey's begins in a cell that it has not set.
        let mut center = self.center();
        if center.latitude.abs() > LATITUDES.1 {
            center.latitude = (LATITUDES.1 - 1e-6).copysign(center.latitude);
        }
        let bounds = self.bounds();
        let mut step = step_for(self.reach(&bounds), center.latitude);
        let middle = Cell::of(center, step, LATITUDES);
        // A middle near the edge of its cell: the neighbours may not reach far enough.
        let too_small = middle.moved(0, 1).area().max.latitude < bounds.max.latitude
            || middle.moved(0, -1).area().min.latitude > bounds.min.latitude
            || middle.moved(1, 0).area().max.longitude < bounds.max.longitude
            || middle.moved(-1, 0).area().min.longitude > bounds.min.longitude;
        if too_small && step > 1 {
            step -= 1;
        }
        let middle = Cell::of(center, step, LATITUDES);
        let area = middle.area();
        let mut cells = vec![middle];
        let mut last: Option<Cell> = None; // The middle is compared with nothing, as in Redis.
        for (east, north) in [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)] {
            // A side that the middle cell reaches beyond the shape on has nothing.
            let needless = step >= 2
                && (north < 0 && area.min.latitude < bounds.min.latitude
                    || north > 0 && area.max.latitude > bounds.max.latitude
                    || east < 0 && area.min.longitude < bounds.min.longitude
                    || east > 0 && area.max.longitude > bounds.max.longitude);
            let cell = middle.moved(east, north);
            if !needless && last != Some(cell) {
                cells.push(cell);
                last = Some(cell);
            }
        }
        cells
    }
}

fn bounds_of(corners: &[Point]) -> Area {
    let mut area = Area {
        min: Point { longitude: LONGITUDES.1, latitude: LATITUDES.1 },
        max: Point { longitude: LONGITUDES.0, latitude: LATITUDES.0 },
    };
    for corner in corners {
        area.min.longitude = area.min.longitude.min(corner.longitude);
        area.max.longitude = area.max.longitude.max(corner.longitude);
        area.min.latitude = area.min.latitude.min(corner.latitude);
        area.max.latitude = area.max.latitude.max(corner.latitude);
    }
    area
}

/// Whether a place is inside of a polygon: a line from it to the east crosses an odd number of sides.
fn is_inside(corners: &[Point], point: Point) -> bool {
    let mut previous = corners[corners.len() - 1];
    let mut inside = false;
    for &corner in corners {
        let spans = (corner.latitude > point.latitude) != (previous.latitude > point.latitude);
        inside ^= spans
            && point.longitude
                < (previous.longitude - corner.longitude) * (point.latitude - corner.latitude)
                    / (previous.latitude - corner.latitude)
                    + corner.longitude;
        previous = corner;
    }
    inside
}

/// The finest grid of which nine cells mostly cover a circle of so many meters.
fn step_for(meters: f64, latitude: f64) -> u32 {
    const MERCATOR_MAX: f64 = 20_037_726.37;
    if meters == 0.0 {
        return STEP_MAX;
    }
    let (mut step, mut reach) = (1i32, meters);
    while reach < MERCATOR_MAX {
        reach *= 2.0;
        step += 1;
    }
    step -= 2;
    // Cells are narrower towards the poles.
    step -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    step.clamp(1, STEP_MAX as i32) as u32
}
