-- Customers and revenue by country and month of the last order; small enough to be computed when it is asked for.
{{ config(materialized='view') }}

select
    country,
    date_trunc('month', last_order_on) as last_order_month,
    count(*) as customers,
    sum(revenue_eur) as revenue_eur
from {{ ref('customer_value') }}
group by country, date_trunc('month', last_order_on)
