// SPDX-License-Identifier: GPL-2.0

//! Cost against the number of processors, as a picture.

use crate::compare::{rank, Comparison, Row, Series, KERNELS, KINDS, LEFT_OUT};
use plotters::{
    coord::{
        ranged1d::{KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter},
        Shift,
    },
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::{error::Error, ops::Range};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Done = Result<(), Box<dyn Error>>;
/// In the picture, from its upper left corner.
type Pixel = (i32, i32);

const PANEL: (i32, i32) = (480, 450);
/// Of a panel: what is beside its axes.
const TITLE: i32 = 44;
const LEFT: i32 = 92;
const BELOW: i32 = 54;
const HEADING: i32 = 44;
const MARGIN: i32 = 16;
/// Of characters, in the unit of plotters: SVG has four fifths of them.
const LARGE: i32 = 25;
const SMALL: i32 = 20;
/// At most, of one character of [`SMALL`].
const CHARACTER: i32 = 10;
const LEGEND_LINE: i32 = 28;

/// The picture: a row of panels for each setting.
pub fn svg(comparison: &Comparison) -> Result<String, String> {
    let mut to = String::new();
    draw(comparison, &mut to).map_err(|error| error.to_string())?;
    Ok(to)
}

fn draw(comparison: &Comparison, to: &mut String) -> Done {
    let styles = styles(&comparison.rows);
    let longest = styles
        .iter()
        .map(|(series, _)| series.to_string().len())
        .max();
    let longest = longest.unwrap_or(0).max(PERFECT.len()) as i32;
    let legend = 60 + longest * CHARACTER;
    let settings = comparison.settings().count() as i32;
    let width = 3 * PANEL.0 + legend + 2 * MARGIN;
    let height = settings * (HEADING + PANEL.1) + HEADING + 2 * MARGIN;
    let area = SVGBackend::with_string(to, (width as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    for (rows, number) in comparison.settings().zip(0..) {
        let y = MARGIN + number * (HEADING + PANEL.1);
        label(&area, &rows[0].setting.to_string(), LARGE, (MARGIN, y))?;
        for (panel, number) in panels(rows).into_iter().zip(0..) {
            let corner = (MARGIN + number * PANEL.0, y + HEADING);
            panel.draw(&area, corner, rows, &styles)?;
        }
        let own: Vec<_> = styles
            .iter()
            .filter(|(series, _)| rows.iter().any(|row| row.series == **series))
            .collect();
        draw_legend(
            &area,
            (MARGIN + 3 * PANEL.0 + 12, y + HEADING + TITLE + 12),
            &own,
        )?;
    }
    let note = format!(
        "The model is no measurement: {}. It leaves out {LEFT_OUT}.",
        comparison.model
    );
    label(&area, &note, SMALL, (MARGIN, height - HEADING))?;
    area.present()?;
    Ok(())
}

fn text(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

fn label(area: &Area, words: &str, size: i32, at: Pixel) -> Done {
    // What XML has no way to write.
    let words = words.replace(char::is_control, " ");
    let style = text(size).pos(Pos::new(HPos::Left, VPos::Top));
    area.draw_text(&words, &style, at)?;
    Ok(())
}

/// The length of dashes, and that of gaps.
type Dashes = (i32, i32);

/// How a series is drawn.
struct Style {
    colour: RGBColor,
    /// The corners of the marker, around a point; none is a circle.
    corners: &'static [Pixel],
    /// Of another kernel than the first that has the kind.
    dashes: Option<Dashes>,
}

/// Told apart by the colour-blind, and on white.
const COLOURS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const CIRCLE: &[Pixel] = &[];
const TRIANGLE: &[Pixel] = &[(0, -7), (7, 6), (-7, 6)];
const SQUARE: &[Pixel] = &[(-5, -5), (5, -5), (5, 5), (-5, 5)];
const DIAMOND: &[Pixel] = &[(0, -7), (7, 0), (0, 7), (-7, 0)];
const MARKERS: [&[Pixel]; 4] = [CIRCLE, TRIANGLE, SQUARE, DIAMOND];
/// By kernel.
const DASHES: [Option<Dashes>; 4] = [None, Some((9, 5)), Some((4, 4)), Some((2, 6))];
const GREY: RGBColor = RGBColor(110, 110, 110);
const LIGHT: RGBColor = RGBColor(225, 225, 225);
const PERFECT: &str = "perfect scaling";
const PERFECT_DASHES: Dashes = (3, 5);

/// One for each series, in the order of the legend.
fn styles(rows: &[Row]) -> Vec<(&Series, Style)> {
    let mut all: Vec<_> = rows.iter().map(|row| &row.series).collect();
    all.sort_by_key(|series| (rank(&series.kind, KINDS), rank(&series.kernel, KERNELS)));
    all.dedup();
    let mut others = KINDS.len();
    let mut styles = Vec::new();
    for kind in all.chunk_by(|a, b| a.kind == b.kind) {
        let known = KINDS.iter().position(|known| *known == kind[0].kind);
        let number = known.unwrap_or_else(|| {
            others += 1;
            others - 1
        });
        for (kernel, series) in kind.iter().enumerate() {
            let style = Style {
                colour: COLOURS[number % COLOURS.len()],
                corners: MARKERS[number % MARKERS.len()],
                dashes: DASHES[kernel.min(DASHES.len() - 1)],
            };
            styles.push((*series, style));
        }
    }
    styles
}

fn line(area: &Area, points: Vec<Pixel>, colour: RGBColor, dashes: Option<Dashes>) -> Done {
    let style = colour.stroke_width(2);
    match dashes {
        Some((dash, gap)) => area.draw(&DashedPathElement::new(points, dash, gap, style))?,
        None => area.draw(&PathElement::new(points, style))?,
    }
    Ok(())
}

impl Style {
    fn draw(&self, area: &Area, points: Vec<Pixel>) -> Done {
        line(area, points.clone(), self.colour, self.dashes)?;
        for point in points {
            self.mark(area, point)?;
        }
        Ok(())
    }

    fn mark(&self, area: &Area, (x, y): Pixel) -> Done {
        let fill = match self.dashes {
            Some(_) => WHITE.filled(),
            None => self.colour.filled(),
        };
        let border = self.colour.stroke_width(2);
        if self.corners.is_empty() {
            area.draw(&Circle::new((x, y), 6, fill))?;
            area.draw(&Circle::new((x, y), 6, border))?;
            return Ok(());
        }
        let mut corners: Vec<_> = self.corners.iter().map(|c| (x + c.0, y + c.1)).collect();
        area.draw(&Polygon::new(corners.clone(), fill))?;
        corners.push(corners[0]);
        area.draw(&PathElement::new(corners, border))?;
        Ok(())
    }
}

fn draw_legend(area: &Area, (x, y): Pixel, styles: &[&(&Series, Style)]) -> Done {
    let words = |words: &str, y| label(area, words, SMALL, (x + 48, y - SMALL / 3));
    for ((series, style), number) in styles.iter().zip(0..) {
        let y = y + number * LEGEND_LINE;
        line(area, vec![(x, y), (x + 40, y)], style.colour, style.dashes)?;
        style.mark(area, (x + 20, y))?;
        words(&series.to_string(), y)?;
    }
    let y = y + styles.len() as i32 * LEGEND_LINE;
    line(area, vec![(x, y), (x + 40, y)], GREY, Some(PERFECT_DASHES))?;
    words(PERFECT, y)
}

/// From the first of some values to the last, which are written at it.
struct Axis {
    ticks: Vec<f64>,
    /// Digits after the point.
    digits: usize,
    /// How far from the ends a point may be, so that its marker is inside: in parts of
    /// the axis.
    margins: (f64, f64),
    /// Where a value is, in whatever unit.
    place: fn(f64) -> f64,
}

impl Axis {
    /// Has these ticks: two at least.
    fn new(ticks: Vec<f64>) -> Self {
        Self {
            ticks,
            digits: 0,
            margins: (0.0, 0.025),
            place: |value| value,
        }
    }

    /// Of numbers of CPUs, in order.
    fn cpus(rows: &[Row]) -> Self {
        let mut ticks: Vec<_> = rows.iter().map(|row| row.cpus as f64).collect();
        ticks.dedup();
        Self {
            margins: (0.04, 0.04),
            ..Self::new(ticks)
        }
    }

    /// Linear, with round ticks.
    fn linear(low: f64, high: f64) -> Self {
        // Something has to be between the ends.
        let high = high.max(low * 1.001).max(low + 1.0);
        let rough = (high - low) / 6.0;
        let power = rough.log10().floor();
        let unit = 10f64.powf(power);
        let steps = [1.0, 2.0, 5.0].into_iter().map(|n| n * unit);
        let step = steps.into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * unit);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let steps = 0..=(last - first) as u32;
        Self {
            digits: (-step.log10().floor()).max(0.0) as usize,
            ..Self::new(steps.map(|n| (first + f64::from(n)) * step).collect())
        }
    }

    /// [`bent`], from zero.
    fn bent(high: f64) -> Self {
        let mut ticks = vec![0.0, BEND / 2.0, BEND];
        let mut unit = BEND;
        while ticks[ticks.len() - 1] < high {
            ticks.extend([2.0 * unit, 5.0 * unit, 10.0 * unit]);
            unit *= 10.0;
        }
        // The first that is enough is the last.
        let enough = ticks.iter().skip(1).position(|tick| *tick >= high);
        ticks.truncate(enough.map_or(ticks.len(), |at| at + 2));
        Self {
            place: bent,
            ..Self::new(ticks)
        }
    }

    fn words(&self, value: f64) -> String {
        format!("{value:.0$}", self.digits)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): Pixel) -> i32 {
        let Range { start, end } = self.range();
        let [value, start, end] = [*value, start, end].map(self.place);
        let (before, after) = self.margins;
        // All values may be one.
        let along = match end > start {
            true => (value - start) / (end - start),
            false => 0.5,
        };
        let along = before + along * (1.0 - before - after);
        from + (along * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.ticks.clone(),
            KeyPointWeight::Any => Vec::new(),
        }
    }

    fn range(&self) -> Range<f64> {
        let end = |tick: Option<&f64>| tick.copied().unwrap_or(0.0);
        end(self.ticks.first())..end(self.ticks.last())
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.words(*value)
    }
}

/// Up to here a [`bent`] axis is linear, and then logarithmic. Were it logarithmic all
/// along there would be no zero, and that is what one CPU has.
const BEND: f64 = 10.0;

/// Where a value is. There is no corner.
fn bent(value: f64) -> f64 {
    if value <= BEND {
        value / BEND
    } else {
        1.0 + (value / BEND).ln()
    }
}

struct Panel {
    title: &'static str,
    unit: String,
    axis: Axis,
    value: fn(&Row) -> f64,
    /// Whether there is a perfect value: as many times as many as there are CPUs.
    perfect: bool,
}

/// The lowest and the highest of values that are not negative.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| {
        (value.min(low), value.max(high))
    })
}

fn panels(rows: &[Row]) -> [Panel; 3] {
    let transfers = |row: &Row| row.counted.transfers;
    let kernel = |row: &Row| row.counted.kernel_instructions;
    let throughput = |row: &Row| row.model.throughput;
    let perfect = |row: &Row| row.cpus as f64 / row.model.least_cpus as f64;

    let (low, high) = ends(rows.iter().map(kernel));
    let instructions = Axis::linear(low, high);
    let start = instructions.range().start;
    let unit = match start > 0.0 {
        true => format!(
            "instructions a connection, from {}",
            instructions.words(start)
        ),
        false => "instructions a connection".to_owned(),
    };
    let fastest = ends(rows.iter().flat_map(|row| [throughput(row), perfect(row)])).1;
    [
        Panel {
            title: "Transfers",
            unit: format!("transfers a connection, logarithmic from {BEND}"),
            axis: Axis::bent(ends(rows.iter().map(transfers)).1),
            value: transfers,
            perfect: false,
        },
        Panel {
            title: "Instructions in the kernel",
            unit,
            axis: instructions,
            value: kernel,
            perfect: false,
        },
        Panel {
            title: "Model: throughput",
            unit: "times the throughput on the fewest CPUs".to_owned(),
            axis: Axis::linear(0.0, fastest),
            value: throughput,
            perfect: true,
        },
    ]
}

impl Panel {
    fn draw(self, area: &Area, at: Pixel, rows: &[Row], styles: &[(&Series, Style)]) -> Done {
        let panel = area.clone().shrink(at, PANEL);
        let middle = (LEFT + (PANEL.0 - LEFT - MARGIN) / 2, TITLE / 2);
        let title = text(LARGE).pos(Pos::new(HPos::Center, VPos::Center));
        panel.draw_text(self.title, &title, middle)?;
        let mut chart = ChartBuilder::on(&panel)
            .margin_right(MARGIN)
            .margin_bottom(MARGIN)
            .margin_top(TITLE)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(Axis::cpus(rows), self.axis)?;
        chart
            .configure_mesh()
            .bold_line_style(LIGHT)
            .label_style(text(SMALL))
            .axis_desc_style(text(SMALL))
            .x_desc("CPUs")
            .y_desc(self.unit)
            .draw()?;

        let place = |cpus: f64, value| chart.plotting_area().map_coordinate(&(cpus, value));
        if self.perfect {
            let mut least: Vec<_> = rows.iter().map(|row| row.model.least_cpus).collect();
            least.sort_unstable();
            least.dedup();
            let most = ends(rows.iter().map(|row| row.cpus as f64)).1;
            for least in least.into_iter().map(|least| least as f64) {
                let ends = vec![place(least, 1.0), place(most, most / least)];
                line(area, ends, GREY, Some(PERFECT_DASHES))?;
            }
        }
        for (series, style) in styles {
            let own = rows.iter().filter(|row| row.series == **series);
            let points = own.map(|row| place(row.cpus as f64, (self.value)(row)));
            style.draw(area, points.collect())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{sorted, tests::run, Model};

    fn comparison() -> Comparison {
        let mut named = run("<\"&\u{1}'>", "single", 4, 600);
        named.setting.proxy = true;
        let runs = sorted(vec![
            run("stock", "single", 1, 0),
            run("stock", "single", 4, 600),
            run("fastsocket", "single", 4, 601),
            run("fastsocket", "fastsocket", 4, 50),
            run("stock", "another", 4, 7),
            named,
        ]);
        let model = Model {
            cpi: 1.0,
            latency: 150.0,
        };
        Comparison::new(&runs.unwrap(), model)
    }

    #[test]
    fn the_picture_is_well_formed() {
        let svg = svg(&comparison()).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains(|c: char| c.is_control() && c != '\n'));
        assert_eq!(
            svg.matches("<text ").count(),
            svg.matches("</text>").count()
        );
        let entities = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;"];
        assert_eq!(
            svg.matches('&').count(),
            entities
                .iter()
                .map(|entity| svg.matches(entity).count())
                .sum::<usize>()
        );
        for words in [
            "stock single",
            "single on kernel fastsocket",
            "fastsocket",
            "stock another",
            "single on kernel &lt;&quot;&amp; &apos;&gt;",
            "lo, one client address, proxy; a slice is 200 instructions",
            "instructions a connection, from 90000",
            "Model: throughput",
            "CPUs",
            "perfect scaling",
        ] {
            assert!(svg.lines().any(|line| line == words), "{words}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn the_picture_is_the_same_again() {
        assert_eq!(svg(&comparison()).unwrap(), svg(&comparison()).unwrap());
    }

    fn words(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|tick| axis.words(*tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        let linear = |low, high| words(&Axis::linear(low, high));
        assert_eq!(linear(0.0, 24.0), ["0", "5", "10", "15", "20", "25"]);
        assert_eq!(
            linear(87_400.0, 93_100.0),
            ["87000", "88000", "89000", "90000", "91000", "92000", "93000", "94000"]
        );
        assert_eq!(linear(3.0, 3.0)[..2], ["3.0", "3.2"]);
        assert_eq!(linear(0.0, 0.0).len(), 6);
        let bent = |high| words(&Axis::bent(high));
        assert_eq!(bent(0.0), ["0", "5"]);
        assert_eq!(bent(53.0), ["0", "5", "10", "20", "50", "100"]);
        assert_eq!(bent(594.0).last().unwrap(), "1000");
    }

    #[test]
    fn an_axis_has_all_values_inside() {
        let mut axis = Axis::bent(100.0);
        assert_eq!(
            [0.0, 100.0].map(|value| axis.map(&value, (400, 0))),
            [400, 10]
        );
        assert_eq!(axis.range(), 0.0..100.0);
        axis.ticks = vec![3.0];
        assert_eq!(axis.map(&3.0, (0, 400)), 195);
    }

    #[test]
    fn zero_is_on_the_axis_too() {
        assert_eq!([0.0, 5.0, BEND].map(bent), [0.0, 0.5, 1.0]);
        assert!((bent(BEND * std::f64::consts::E) - 2.0).abs() < 1e-12);
    }
}
