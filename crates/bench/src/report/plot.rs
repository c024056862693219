//! The plot: how much of each goal is reached, and where the latencies lie.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, Color as _, DrawingArea, EmptyElement, IntoDrawingArea as _,
    IntoLogRange as _, LineSeries, PathElement, RED, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};

use super::{Report, figure};
use crate::scenario::{Line, Run, Verdict};

const WIDTH: u32 = 960;
const ROW: u32 = 26;
const MARGIN: u32 = 60;
const CURVES: u32 = 360;
const FONT: (&str, i32) = ("sans-serif", 13);
const TITLE: (&str, i32) = ("sans-serif", 16);
/// Bars end here: beyond a goal ten times over nobody compares lengths.
const ATTAINMENT_MAX: f64 = 10.0;
const ATTAINMENT_MIN: f64 = 0.1;

const GOOD: RGBColor = RGBColor(64, 145, 108);
const BAD: RGBColor = RGBColor(193, 80, 62);
const UNCLEAR: RGBColor = RGBColor(201, 160, 60);
const PALETTE: [RGBColor; 6] = [
    RGBColor(38, 84, 124),
    RGBColor(193, 80, 62),
    RGBColor(64, 145, 108),
    RGBColor(201, 160, 60),
    RGBColor(120, 81, 169),
    RGBColor(90, 90, 90),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(super) fn render(report: &Report) -> Result<String> {
    let goals: Vec<(&Line, f64)> = report
        .lines
        .iter()
        .filter_map(|line| Some((line, line.attainment()?)))
        .collect();
    let open: Vec<&Run> = report
        .runs
        .iter()
        .filter(|run| run.place == "open")
        .collect();
    let bars = ROW * u32::try_from(goals.len().max(1)).unwrap_or(1) + 2 * MARGIN;
    let curves = if open.is_empty() { 0 } else { CURVES };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, bars + curves)).into_drawing_area();
        root.fill(&WHITE).map_err(|error| failed(&error))?;
        let (upper, lower) = root.split_vertically(bars);
        draw_bars(&upper, &goals)?;
        if !open.is_empty() {
            draw_curves(&lower, &open)?;
        }
        root.present().map_err(|error| failed(&error))?;
    }
    Ok(svg)
}

fn failed(error: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow!("draw the plot: {error}")
}

/// One bar a goal, from the goal itself to what was found, to the right when it is met.
fn draw_bars(area: &Area<'_>, goals: &[(&Line, f64)]) -> Result<()> {
    let rows = goals.len().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption("how much of each goal is reached (1 = the goal)", TITLE)
        .margin(12)
        .x_label_area_size(30)
        .build_cartesian_2d((ATTAINMENT_MIN..ATTAINMENT_MAX).log_scale(), 0.0..rows)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_label_formatter(&|value| format!("{value:.1}"))
        .label_style(FONT)
        .draw()
        .map_err(|error| failed(&error))?;
    for (at, (line, attainment)) in goals.iter().enumerate() {
        let bottom = rows - 1.0 - at as f64;
        let color = match line.verdict() {
            Verdict::Met => GOOD,
            Verdict::Unclear => UNCLEAR,
            _ => BAD,
        };
        let end = attainment.clamp(ATTAINMENT_MIN, ATTAINMENT_MAX);
        let corners = [(1.0, bottom + 0.2), (end, bottom + 0.8)];
        let label = format!("{}  {}", line.scenario, figure(*attainment));
        let bar = Rectangle::new(corners, color.mix(0.6).filled());
        let text =
            EmptyElement::at((ATTAINMENT_MIN, bottom + 0.72)) + Text::new(label, (6, 0), FONT);
        chart.draw_series([bar]).map_err(|error| failed(&error))?;
        chart.draw_series([text]).map_err(|error| failed(&error))?;
    }
    let goal = PathElement::new([(1.0, 0.0), (1.0, rows)], RED.stroke_width(1));
    chart.draw_series([goal]).map_err(|error| failed(&error))?;
    Ok(())
}

/// Latencies over the share of requests that are slower: each step to the right is ten times rarer.
fn draw_curves(area: &Area<'_>, runs: &[&Run]) -> Result<()> {
    let points = |run: &Run| {
        let found = run.sample.latency_us;
        let all = [found.p50, found.p90, found.p99, found.p999];
        let at = [0.5f64, 0.9, 0.99, 0.999].map(|share| -(1.0 - share).log10());
        at.into_iter().zip(all).collect::<Vec<_>>()
    };
    let all = runs.iter().flat_map(|run| points(run)).map(|(_, y)| y);
    let (low, high) = all.fold((f64::MAX, 1.0f64), |(low, high), y| {
        (low.min(y), high.max(y))
    });
    let low = low.max(1.0) * 0.8;
    let mut chart = ChartBuilder::on(area)
        .caption("latency in an open loop at half of the capacity, µs", TITLE)
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.2..3.6, (low..high.max(low * 2.0) * 1.3).log_scale())
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_label_formatter(&|x| format!("{:.4} %", 100.0 * (1.0 - 10f64.powf(-x))))
        .y_label_formatter(&|y| figure(*y))
        .label_style(FONT)
        .draw()
        .map_err(|error| failed(&error))?;
    for (run, color) in runs.iter().zip(PALETTE.iter().cycle()) {
        let points = points(run);
        let last = points.last().copied();
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
        chart.draw_series(line).map_err(|error| failed(&error))?;
        let dots = points.iter().map(|at| Circle::new(*at, 3, color.filled()));
        chart.draw_series(dots).map_err(|error| failed(&error))?;
        if let Some(end) = last {
            let name = run.load.split(',').next().unwrap_or_default().to_owned();
            let text = EmptyElement::at(end) + Text::new(name, (8, -6), FONT);
            chart.draw_series([text]).map_err(|error| failed(&error))?;
        }
    }
    Ok(())
}
